"""The saga protocol: decide, evolve and outstanding over one saga's stream.

```
              ┌────────── every step settled ─────────▶ COMPLETED
    NEW ─▶ RUNNING                                        │ (a child, when its parent is undone)
              └─ refused, given up, cancelled, ─▶ UNDOING ◀┘
                 deadline passed                    └── nothing left to undo ─▶ COMPENSATED
```

Source: Sagas, H. Garcia-Molina and K. Salem, 1987.
"""

from finality.core.saga.decide import advance, begun, decide, outstanding
from finality.core.saga.graph import Graph, Kind, Step, Wait, graph_of
from finality.core.saga.replay import UnknownStep, replay
from finality.core.saga.state import Branch, Phase, SagaState, Status, evolve, new_state
from finality.core.saga.summary import Summary, summary_of

__all__ = [
    "Branch",
    "Graph",
    "Kind",
    "Phase",
    "SagaState",
    "Status",
    "Step",
    "Summary",
    "UnknownStep",
    "Wait",
    "advance",
    "begun",
    "decide",
    "evolve",
    "graph_of",
    "new_state",
    "outstanding",
    "replay",
    "summary_of",
]
