"""Three-phase commit: with crashes only, whoever is left finishes without those that are gone.

```
    coordinator   voting ──all yes──▶ pre-committing ──all that are left have acknowledged──▶ COMMIT
                    └──no, or silence──────────────────────────────────────────────────────▶ ABORT

    agent         uncertain ──▶ pre-committed ──▶ committed        No agent is uncertain while another
                      └──────────────┴──────────▶ aborted          has committed: that is the idea.
```

In two-phase commit an uncertain participant must wait for its coordinator, since somebody may have
committed already. Here nobody has, as long as an agent that still runs is uncertain. So when the
coordinator falls silent, the first agent in line takes charge, hears where the others stand, and
ends it: abort if all are uncertain, commit (after a pre-commit to all) if one is not. When that one
falls silent too, the next takes charge.

**What it rests on.** Silence means a crash. A split network breaks it: each side takes the other for
dead, and the two sides may decide differently. ``docs/patterns/three-phase.md`` shows how.

An agent that was away takes no part any more: it asks until somebody knows. If all were away, they
decide together once all are back.

Source: Nonblocking Commit Protocols, D. Skeen, 1981; A Formal Model of Crash Recovery in a
Distributed System, D. Skeen and M. Stonebraker, 1983.
"""
