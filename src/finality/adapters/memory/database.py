"""What several stores in one process share: the rows, and the write turn."""

from __future__ import annotations

import threading
import weakref
from functools import cached_property
from typing import ClassVar, NamedTuple

from finality.adapters.memory.sql import Sql
from finality.adapters.memory.table import Table, UndoLog, undo
from finality.core.ids import NodeId, StreamName
from finality.core.sourcing import Snapshot
from finality.ports.events import SHARES, OutboxEvent, Parked, Progress, Published
from finality.ports.home import Head, NodeRow


class Event(NamedTuple):
    """A row of the journal."""

    position: int
    key: int
    stream: StreamName
    version: int
    type_name: str
    data: bytes
    at: float
    by: NodeId
    meta: bytes | None = None
    tags: frozenset[str] = frozenset()


class MemoryDatabase:
    """A database that is gone with its process, or when nobody holds it any more.

    A store that is dropped without being closed leaves in it exactly what was committed.
    """

    _named: ClassVar[weakref.WeakValueDictionary[str, MemoryDatabase]] = weakref.WeakValueDictionary()

    def __init__(self) -> None:
        self.lock = threading.Lock()  # Between a commit and readers on other threads.
        self.holder: object = None
        self.commits = 0
        self.log: UndoLog = []
        self.keys: Table[StreamName, int] = Table(self.log)
        self.versions: Table[int, int] = Table(self.log)
        self.heads: Table[int, Head] = Table(self.log)
        self.definitions: Table[tuple[str, str], str] = Table(self.log)
        self.nodes: Table[NodeId, NodeRow] = Table(self.log)
        self.witness: Table[tuple[str, str, str], tuple[str, float]] = Table(self.log)
        self.locks: Table[str, tuple[int, float]] = Table(self.log)
        self.archived: Table[int, bool] = Table(self.log)
        self.snapshots: Table[int, Snapshot] = Table(self.log)
        self.subjects: Table[str, tuple[bytes | None]] = Table(self.log)
        self.tagged: dict[str, list[Event]] = {}
        self.open: dict[int, None] = {}
        self.events: list[Event] = []
        self.streams: dict[int, list[Event]] = {}
        self.outbox: dict[int, list[OutboxEvent]] = {share: [] for share in range(SHARES)}
        self.new_events: list[Event] = []
        self.new_outbox: list[tuple[int, OutboxEvent]] = []
        self.pruned: Table[int, bool] = Table(self.log)
        self.delayed: Table[int, tuple[float, Published]] = Table(self.log)
        self.readers: Table[tuple[str, int], Progress] = Table(self.log)
        self.parked: Table[int, Parked] = Table(self.log)
        self.last_number = 0  # The same for positions of the outbox and for what is delayed or parked.
        self.last_key = 0  # May run ahead of what is committed: keys have gaps, as in any database.

    @classmethod
    def named(cls, name: str) -> MemoryDatabase:
        """Return the one database of that name, for as long as somebody holds it."""
        return cls._named.setdefault(name, cls())

    @cached_property
    def sql(self) -> Sql:
        """Return where the user's own SQL runs; most simulations have none."""
        return Sql()

    @property
    def _tables(self) -> tuple[Table[object, object], ...]:
        return (  # type: ignore[return-value]  # each has its own types, and all commit alike
            self.keys, self.versions, self.heads, self.definitions, self.nodes, self.witness, self.locks,
            self.pruned, self.delayed, self.readers, self.parked,
            self.archived, self.snapshots, self.subjects,
        )  # fmt: skip

    def open_keys(self) -> list[int]:
        """Return the transactions that have not ended, as the transaction sees them."""
        changed = self.heads.changed
        keys = {**self.open, **dict.fromkeys(changed)} if changed else self.open
        return [key for key in keys if (head := self.heads.get(key)) and not head.has_ended]

    def apply(self) -> None:
        """Commit what the transaction has changed."""
        with self.lock:
            for key, head in self.heads.changed.items():
                if head is None or head.has_ended:
                    self.open.pop(key, None)
                else:
                    self.open[key] = None
            for table in self._tables:
                if table.changed:
                    table.apply()
            for event in self.new_events:
                self.streams.setdefault(event.key, []).append(event)
                for tag in event.tags:
                    self.tagged.setdefault(tag, []).append(event)
            self.events += self.new_events
            for share, row in self.new_outbox:
                self.outbox[share].append(row)
            if self.pruned.committed:
                self._prune()
            self.commits += 1
        self._begin_anew()

    def _prune(self) -> None:
        for share, rows in self.outbox.items():
            self.outbox[share] = [row for row in rows if row.position not in self.pruned.committed]
        self.pruned.committed.clear()

    def next_number(self) -> int:
        """Return a number greater than every one before it."""
        self.last_number += 1
        return self.last_number

    def drop(self) -> None:
        """Leave nothing of what the transaction has changed."""
        for table in self._tables:
            table.changed.clear()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.log.clear()
        self.new_events.clear()
        self.new_outbox.clear()

    def mark(self) -> tuple[int, int]:
        """Return where the turn that runs next begins."""
        self.log.clear()
        return len(self.new_events), len(self.new_outbox)

    def undo_to(self, mark: tuple[int, int]) -> None:
        """Take back what was changed since."""
        undo(self.log)
        del self.new_events[mark[0] :]
        del self.new_outbox[mark[1] :]
