"""Runs one story in every pattern, side by side, and measures what they differ in.

```
    withdrawal (the domain, once)          way ── local · two_phase · three_phase · tcc · saga
              └──────────────┬──────────────────────┘
    place (the databases) ─ trial (costs, a refused payment) ─ drill (a dead coordinator) ─ view
```

A new way is a module with a ``Way`` and a line in ``ways``.
"""
