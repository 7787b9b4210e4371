"""A protocol is three pure functions over a stream: decide, evolve, outstanding.

```
    signal ──▶ decide ──events──▶ journal ──▶ evolve ──state──▶ outstanding ──▶ commands
```

Commands are a function of journaled state, never returned along with a transition: what a
crash loses is computed again, and there is nothing to send until it is in the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from finality.core.ids import NodeId, Position, StreamName, Version
from finality.core.sourcing.fact import Meta

S = TypeVar("S")
E = TypeVar("E")


class Recorded(NamedTuple):
    """An event as the journal keeps it; a tuple, since readers make them by the million.

    Attributes:
        at: Seconds since the Unix epoch, by the clock of the node that wrote it.
        by: The node that wrote it, or the person's name for an operator's act.
        meta: What is known besides of an event of the user's own, once it has been read as one.
    """

    position: Position
    stream: StreamName
    version: Version
    event: Any
    at: float
    by: NodeId
    meta: Meta | None = None


def fold(evolve: Callable[[S, E], S], state: S, events: Iterable[E]) -> S:
    """Return *state* after *events*, oldest first."""
    for event in events:
        state = evolve(state, event)
    return state
