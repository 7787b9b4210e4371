"""Version file: keep what has arrived, so that operations that overtake each other still commute.

```
    sent:     1 authorise   2 cancel
    arrives:  2 cancel ── recorded, nothing to undo
              1 authorise ── overtaken by cancel: not done
```

The operations of one thing are numbered by whoever sends them, in the order that is meant. Each
records itself in the commit of its effect and learns what came before it and what has overtaken
it. The record is a table beside the user's own, ``version_file``, in the store where the step
works; it is made at its first use, and read, cleaned up and backed up like any other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from finality.core.errors import Refused
from finality.ports.store import LocalTransaction

T = TypeVar("T")


class Call(Protocol):
    """Runs a function in the local transaction of ``async`` code."""

    def __call__(self, work: Callable[[LocalTransaction], T], /) -> Awaitable[T]: ...


CREATE = (
    "CREATE TABLE IF NOT EXISTS version_file"
    " (name TEXT NOT NULL, number INTEGER NOT NULL, operation TEXT NOT NULL, PRIMARY KEY (name, number))"
)


@dataclass(frozen=True, slots=True)
class Arrival:
    """What an operation learns when it records itself.

    Attributes:
        is_repeated: It was recorded before; its effect is there.
        preceded_by: The operation next before it that has arrived; None if none has.
        overtaken_by: The operation last in order that arrived although it was meant to come later.
    """

    number: int
    operation: str
    is_repeated: bool
    preceded_by: str | None
    overtaken_by: str | None

    @property
    def is_current(self) -> bool:
        """Say whether its effect is due: it is new, and nothing that came after it has arrived before it."""
        return not self.is_repeated and self.overtaken_by is None


def record(local: LocalTransaction, name: str, operation: str, number: int) -> Arrival:
    """Record that *operation*, the thing's *number*-th, has arrived; return what that means for it.

    Raises:
        Refused: Another operation has that number.
    """
    arrived = operations(local, name)
    known = dict(arrived).get(number)
    if known is not None and known != operation:
        raise Refused(
            f"{name!r} has recorded {known!r} as number {number}, so {operation!r} cannot be it: "
            "number each operation once, in the order that is meant"
        )
    if known is None:
        local.execute(
            "INSERT INTO version_file (name, number, operation) VALUES (?, ?, ?)", (name, number, operation)
        )
    before = [each for place, each in arrived if place < number]
    after = [each for place, each in arrived if place > number]
    return Arrival(
        number,
        operation,
        is_repeated=known is not None,
        preceded_by=before[-1] if before else None,
        overtaken_by=after[-1] if after else None,
    )


def operations(local: LocalTransaction, name: str) -> list[tuple[int, str]]:
    """Return what has arrived as (number, operation), in the order that was meant."""
    local.execute(CREATE)
    rows = local.execute("SELECT number, operation FROM version_file WHERE name = ? ORDER BY number", (name,))
    return [(int(number), str(operation)) for number, operation in rows]


def forget(local: LocalTransaction, name: str) -> None:
    """Forget what has arrived: nothing of the thing can be on its way any more."""
    local.execute(CREATE)
    local.execute("DELETE FROM version_file WHERE name = ?", (name,))


class SyncVersionFile:
    """The version file of one thing, for plain functions."""

    def __init__(self, local: LocalTransaction, name: str) -> None:
        self._local = local
        self._name = name

    def record(self, operation: str, *, number: int) -> Arrival:
        """Record that *operation*, the thing's *number*-th, has arrived; return what that means for it.

        Raises:
            Refused: Another operation has that number.
        """
        return record(self._local, self._name, operation, number)

    def operations(self) -> list[tuple[int, str]]:
        """Return what has arrived as (number, operation), in the order that was meant."""
        return operations(self._local, self._name)

    def forget(self) -> None:
        """Forget what has arrived, once nothing can be on its way any more."""
        forget(self._local, self._name)


class VersionFile:
    """The version file of one thing, for ``async`` functions. See ``SyncVersionFile``."""

    def __init__(self, call: Call, name: str) -> None:
        self._call = call
        self._name = name

    async def record(self, operation: str, *, number: int) -> Arrival:
        """Record that *operation*, the thing's *number*-th, has arrived; return what that means for it.

        Raises:
            Refused: Another operation has that number.
        """
        return await self._call(lambda local: record(local, self._name, operation, number))

    async def operations(self) -> list[tuple[int, str]]:
        """Return what has arrived as (number, operation), in the order that was meant."""
        return await self._call(lambda local: operations(local, self._name))

    async def forget(self) -> None:
        """Forget what has arrived, once nothing can be on its way any more."""
        await self._call(lambda local: forget(local, self._name))
