"""What turns have written to the journal and the server has not heard of yet.

Many turns share a commit, and what they append is sent together, in one statement. An append
trusts the version that it was decided on; if one of them was wrong, the server refuses all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Birthed:
    """A stream that is to be made."""

    name: str
    definition: int | None = None
    driver: int | None = None
    parent: int | None = None


@dataclass(slots=True)
class Moved:
    """What the row of a stream is to say."""

    version: int
    status: str | None = None
    is_open: bool | None = None
    wake_at: float | None = None


Event = tuple[int, int, str, bytes, bytes | None]
"""Key, version, type and data of an event, and what is known of it besides."""

Tag = tuple[str, int, int, str]
"""A tag, and key, version and name of the event that it finds."""


@dataclass(slots=True)
class Pending:
    """What some turns have written.

    Attributes:
        born: New streams, by key; each stands in ``moved`` too.
        moved: Streams whose row changes, by key.
        follows: The version that the first of a stream's events follows, by key.
        events: Those of ours and of the user's own, in their order.
        tags: What finds the user's own.
        wakes: When others are to wake, by key.
        ended: Transactions that have ended, whose locks are released.
        versions: Where streams are, by key, as these turns see it.
        names: The keys of ``born``, by name.
    """

    born: dict[int, Birthed] = field(default_factory=dict)
    moved: dict[int, Moved] = field(default_factory=dict)
    follows: dict[int, int] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    tags: list[Tag] = field(default_factory=list)
    wakes: dict[int, float | None] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)
    versions: dict[int, int] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.follows or self.wakes)

    def advance(self, key: int, expected: int, version: int) -> None:
        """Move a stream on."""
        self.follows.setdefault(key, expected)
        self.versions[key] = version

    def renew(self, key: int, moved: Moved) -> None:
        """Change what the row of a stream says."""
        self.moved[key] = moved
        self.wakes.pop(key, None)
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
        for key, expected in later.follows.items():
            self.follows.setdefault(key, expected)
        for key, moved in later.moved.items():
            self.renew(key, moved)
        self.events += later.events
        self.tags += later.tags
        for key, wake_at in later.wakes.items():
            self.set_wake(key, wake_at)

    def forget(self) -> None:
        """Hear that the server has it; where the streams are is still of use."""
        self.born.clear()
        self.moved.clear()
        self.follows.clear()
        self.events.clear()
        self.tags.clear()
        self.wakes.clear()
        self.ended.clear()

    def parameters(self) -> list[Any]:
        """Return all of it as ``append`` takes it, by key: rows are locked in that order."""
        born = sorted(self.born.items())
        moved = sorted(item for item in self.moved.items() if item[0] not in self.born)
        heads = [self.moved[key] for key, _ in born]
        follows = self._followed()
        wakes = sorted(self.wakes.items())
        return [
            len(born), _numbers([key for key, _ in born]), [b.name for _, b in born],
            _numbers([m.version for m in heads]), _numbers([b.definition for _, b in born]),
            [m.status for m in heads], _numbers([m.is_open for m in heads]),
            _numbers([m.wake_at for m in heads]),
            _numbers([b.driver for _, b in born]), _numbers([b.parent for _, b in born]),
            len(moved), _numbers([key for key, _ in moved]), _numbers([m.version for _, m in moved]),
            [m.status for _, m in moved], _numbers([m.is_open for _, m in moved]),
            _numbers([m.wake_at for _, m in moved]),
            len(follows), _numbers([key for key, _ in follows]), _numbers([at for _, at in follows]),
            len(wakes), _numbers([key for key, _ in wakes]), _numbers([wake_at for _, wake_at in wakes]),
            _numbers(self.ended),
            _numbers([event[0] for event in self.events]), _numbers([event[1] for event in self.events]),
            [event[2] for event in self.events], [event[3] for event in self.events],
            _without_last_nulls([event[4] for event in self.events]),
            [tag[0] for tag in self.tags], _numbers([tag[1] for tag in self.tags]),
            _numbers([tag[2] for tag in self.tags]), [tag[3] for tag in self.tags],
        ]  # fmt: skip

    def places(self) -> list[list[Any]]:
        """Return the streams that were thought to be somewhere, where that was, and the names of new ones."""
        follows = self._followed()
        return [[key for key, _ in follows], [at for _, at in follows], [b.name for b in self.born.values()]]

    def _followed(self) -> list[tuple[int, int]]:
        return [item for item in self.follows.items() if item[0] not in self.born]


def _numbers(values: Sequence[float | None]) -> str:
    """Return numbers, truths and nulls as the text of an array."""
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


def _without_last_nulls(values: list[Any]) -> list[Any]:
    """Return *values* up to the last that is none: the server fills up columns that are too short."""
    while values and values[-1] is None:
        values.pop()
    return values
