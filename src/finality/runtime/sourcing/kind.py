"""What a declared aggregate is to the code that folds and records it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from finality.core.ids import Version
from finality.core.sourcing import Upcaster


@dataclass(frozen=True, slots=True)
class EventType:
    """A class of events.

    Attributes:
        name: What the journal calls it.
        type: The same with the version of its shape, which stands with each event.
        version: Of its shape.
        tags: The fields whose values its events can be found by.
        upcasters: What leads on from each earlier version.
        is_ours: Finality itself records them, in streams of its own.
    """

    cls: type
    name: str
    type: str
    version: int = 1
    tags: tuple[str, ...] = ()
    upcasters: Mapping[int, Upcaster] | None = None
    is_ours: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """A class of aggregates.

    Attributes:
        name: The category of its streams.
        empty: Makes the state before the first event.
        types: The events that it takes, by the names of the journal.
        snapshot_every: How many events apart snapshots are taken; None: never.
        shape: Of the state, so that a snapshot of another one is not read.
    """

    cls: type
    name: str
    empty: Callable[[], Any]
    types: Mapping[str, EventType]
    by_class: Mapping[type, EventType]
    snapshot_every: int | None
    shape: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """Where an aggregate was loaded from: its own id, and how far its stream was.

    Attributes:
        version: The number of events that its state consists of; 0 when it has not begun.
        is_archived: Its stream is closed and takes no more events.
        is_past: It is a state that was, which nothing can be decided on.
        key: The store's own short name of the stream; None when it has not begun.
    """

    id: str
    version: Version
    is_archived: bool = False
    is_past: bool = False
    key: int | None = None


PLACE = "_finality_loaded"  # Kept beside the fields: it is no part of the state, and of no copy of it.


def placed(aggregate: Any, loaded: Loaded) -> Any:
    """Return *aggregate* once it knows where it was loaded from."""
    object.__setattr__(aggregate, PLACE, loaded)
    return aggregate
