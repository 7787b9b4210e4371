"""What turns have written to the journal and the server has not heard of yet.

Many turns share a commit, and what they append is sent together, in a few statements. An append
trusts the version that it was decided on; the server says at the end which of them were wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Birthed:
    """A stream that is to be made."""

    key: int
    name: str
    definition: int | None
    driver: int | None
    parent: int | None
    at: float


@dataclass(slots=True)
class Moved:
    """Where a stream is to be, and what its head says then."""

    expected: int
    version: int
    status: str | None
    is_open: bool | None
    wake_at: float | None
    at: float


Event = tuple[int, int, str, bytes, float]
"""Key, version, type, data and time of an event."""

FactRow = tuple[int, int, str, bytes, float, bytes | None]
"""Likewise of an event of the user's own, and what is known of it besides."""

Tag = tuple[str, int, int, str]
"""A tag, and key, version and name of the event that it finds."""


@dataclass(slots=True)
class Pending:
    """What some turns have written.

    Attributes:
        born: New transactions, by key; each stands in ``moved`` too.
        moved: Streams that have moved on, by key.
        facts: Events of the user's own.
        tags: What finds them.
        wakes: When others are to wake, by key.
        ended: Transactions that have ended, whose locks are released.
        versions: Where streams are, by key, as these turns see it.
        names: The keys of ``born``, by name.
    """

    born: dict[int, Birthed] = field(default_factory=dict)
    moved: dict[int, Moved] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    facts: list[FactRow] = field(default_factory=list)
    tags: list[Tag] = field(default_factory=list)
    wakes: dict[int, float | None] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)
    versions: dict[int, int] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.moved or self.events or self.wakes)

    def advance(self, key: int, moved: Moved, events: list[Event]) -> None:
        """Move a stream on."""
        before = self.moved.get(key)
        if before is not None:
            moved.expected = before.expected
        self.moved[key] = moved
        self.versions[key] = moved.version
        self.wakes.pop(key, None)
        self.events += events
        if moved.is_open is None and moved.status is not None:
            self.ended.append(key)

    def set_wake(self, key: int, wake_at: float | None) -> None:
        """Renew the time at which an open transaction wakes."""
        moved = self.moved.get(key)
        if moved is None:
            self.wakes[key] = wake_at
        elif moved.is_open:
            moved.wake_at = wake_at

    def take_in(self, later: Pending) -> None:
        """Add what was written after this."""
        self.born |= later.born
        self.names |= later.names
        for key, moved in later.moved.items():
            self.advance(key, moved, [])
        self.events += later.events
        self.facts += later.facts
        self.tags += later.tags
        for key, wake_at in later.wakes.items():
            self.set_wake(key, wake_at)

    def forget(self) -> None:
        """Hear that the server has it; where the streams are is still of use."""
        self.born.clear()
        self.moved.clear()
        self.events.clear()
        self.facts.clear()
        self.tags.clear()
        self.wakes.clear()
        self.ended.clear()

    def born_columns(self) -> list[list[Any]]:
        """Return the new streams as the columns that the server takes."""
        rows = [
            (
                b.key, b.name, m.version, b.definition, m.status, m.is_open, m.wake_at, b.driver, b.parent,
                b.at,
            )
            for key, b in sorted(self.born.items())
            for m in [self.moved[key]]
        ]  # fmt: skip
        return columns(rows)

    def moved_columns(self) -> list[list[Any]]:
        """Return the other streams that have moved, likewise."""
        moved = sorted((key, m) for key, m in self.moved.items() if key not in self.born)
        return columns((key, m.expected, m.version, m.status, m.is_open, m.wake_at, m.at) for key, m in moved)


def columns(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    """Return *rows* as columns."""
    return [list(column) for column in zip(*rows, strict=True)]
