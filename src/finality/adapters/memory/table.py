"""Rows by key in memory: what is committed, and over it what the open transaction has changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

UndoLog = list[tuple[dict[Any, Any], Any, Any]]
"""What each change of the running turn replaced: (where, key, what was there)."""

ABSENT: Any = object()
"""Stands in the log where nothing was."""


class Table(Generic[K, V]):
    """Readers see ``committed``; the transaction sees its own changes as well."""

    __slots__ = ("_log", "changed", "committed")

    def __init__(self, log: UndoLog) -> None:
        self.committed: dict[K, V] = {}
        self.changed: dict[K, V | None] = {}
        self._log = log

    def get(self, key: K) -> V | None:
        """Return the row as the transaction sees it."""
        if key in self.changed:
            return self.changed[key]
        return self.committed.get(key)

    def put(self, key: K, row: V | None) -> None:
        """Change the row in the transaction; None deletes it."""
        self._log.append((self.changed, key, self.changed.get(key, ABSENT)))
        self.changed[key] = row

    def rows(self) -> Iterator[tuple[K, V]]:
        """Yield every row as the transaction sees it, oldest first."""
        for key, committed in self.committed.items():
            row = self.changed.get(key, committed) if key in self.changed else committed
            if row is not None:
                yield key, row
        for key, new in self.changed.items():
            if key not in self.committed and new is not None:
                yield key, new

    def apply(self) -> None:
        """Commit the changes."""
        for key, row in self.changed.items():
            if row is None:
                self.committed.pop(key, None)
            else:
                self.committed[key] = row
        self.changed.clear()


def undo(log: UndoLog) -> None:
    """Take back what the log says was changed, latest first."""
    while log:
        where, key, before = log.pop()
        if before is ABSENT:
            where.pop(key, None)
        else:
            where[key] = before
