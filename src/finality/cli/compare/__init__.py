"""Runs one story in every pattern, side by side, and measures what they differ in.

```
    story ─┬─ way   local · two_phase · three_phase · tcc · saga · outbox · event_sourcing
           │             withdraw/, the rules once
           ├─ place   where its databases are
           ├─ trial   what it costs (tally), what others see (reader), a case that is refused
           ├─ drill   a coordinator that is killed (victim), and another node
           └─ view
```

A new way is a module with a ``Way``, and a line in its story; a new story is a folder with a
``Story``, a line in ``stories`` and a command.
"""
