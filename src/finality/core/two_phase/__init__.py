"""Two-phase commit with presumed abort: every branch commits, or none does.

```
                          a vote is no, or missing
    working ──▶ voting ──────────────────────────────▶ decided ABORT   (not written: see below)
                  │ all yes                                │
                  └───────▶ decided COMMIT (durable) ──────┴──▶ finishing ──▶ ended
```

The decision is the *first* event of the transaction's stream, and a stream begins once: whoever
writes it first has decided. So a coordinator that wakes up late cannot commit what somebody else
has given up, and any number of nodes may recover at once.

**Presumed abort.** A branch in doubt whose transaction has no stream was never decided. Whoever
finds it writes ``Decided(ABORT)`` as that first event, and aborts the branch only then. An abort
that every branch has heard of needs no record at all.

Votes are kept in memory: they are what a crash may lose.

Source: Transaction Management in the R* Distributed Database Management System, C. Mohan,
B. Lindsay, R. Obermarck, 1986.
"""

from __future__ import annotations

from finality.core.two_phase.decide import (
    decide,
    is_durable,
    outstanding,
)
from finality.core.two_phase.events import (
    Accepted,
    AskPerson,
    BranchFinished,
    BranchState,
    CommitAlone,
    Decided,
    Decision,
    DurableEvent,
    EndWork,
    Enlist,
    Enlisted,
    Finish,
    FinishBranch,
    FoundCommitted,
    FoundInDoubt,
    GiveUp,
    Heard,
    Prepare,
    PutRight,
    TwoPhaseCommand,
    TwoPhaseEvent,
    TwoPhaseSignal,
    Vote,
    Voted,
    WorkEnded,
)
from finality.core.two_phase.state import (
    NEW,
    TwoPhaseState,
    evolve,
)
from finality.core.two_phase.summary import (
    ABORTED,
    ABORTING,
    COMMITTED,
    COMMITTING,
    DEFINITION,
    HOME_STREAM,
    KIND,
    STUCK,
    HomeNamed,
    summary_of,
)

__all__ = [
    "ABORTED",
    "ABORTING",
    "COMMITTED",
    "COMMITTING",
    "DEFINITION",
    "HOME_STREAM",
    "KIND",
    "NEW",
    "STUCK",
    "Accepted",
    "AskPerson",
    "BranchFinished",
    "BranchState",
    "CommitAlone",
    "Decided",
    "Decision",
    "DurableEvent",
    "EndWork",
    "Enlist",
    "Enlisted",
    "Finish",
    "FinishBranch",
    "FoundCommitted",
    "FoundInDoubt",
    "GiveUp",
    "Heard",
    "HomeNamed",
    "Prepare",
    "PutRight",
    "TwoPhaseCommand",
    "TwoPhaseEvent",
    "TwoPhaseSignal",
    "TwoPhaseState",
    "Vote",
    "Voted",
    "WorkEnded",
    "decide",
    "evolve",
    "is_durable",
    "outstanding",
    "summary_of",
]
