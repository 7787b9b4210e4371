"""A database in memory as a store, and as a node's home."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Any

from finality.adapters.follow import follow
from finality.adapters.fork import keep_out_of_children
from finality.adapters.group_commit import Writer
from finality.adapters.histories import histories
from finality.adapters.memory.database import MemoryDatabase
from finality.adapters.memory.engine import MemoryEngine
from finality.adapters.memory.events import MemoryEventReads
from finality.adapters.memory.home_transaction import MemoryHomeTransaction
from finality.adapters.memory.rows import recorded_of
from finality.adapters.memory.sources import MemoryCommittedSources
from finality.adapters.memory.transaction import MemoryTransaction
from finality.adapters.written import WrittenHome, WrittenStore
from finality.core.errors import NotFound, Unavailable
from finality.core.ids import (
    START,
    Cursor,
    NodeId,
    Position,
    StreamName,
    TransactionId,
    Version,
    transaction_stream,
)
from finality.core.protocol import Recorded
from finality.ports.codec import Codec
from finality.ports.environment import Environment
from finality.ports.home import HEADS_MAX, Head, History, NodeRow
from finality.ports.journal import PAGE_EVENTS_MAX, Page
from finality.ports.store import Rows


class MemoryStore(WrittenStore, MemoryEventReads):
    """Fulfils ``ports.store.Store``, except that nothing is durable: it is gone with its process.

    Stores with the same *database* share it, as several processes share a file.
    """

    def __init__(
        self, database: MemoryDatabase | str | None, environment: Environment, *, name: str | None = None
    ) -> None:
        self.name = name or (database if isinstance(database, str) else "memory")
        if not database:
            database = MemoryDatabase()
        elif isinstance(database, str):
            database = MemoryDatabase.named(database)
        self.database = database
        self._environment = environment
        self._seen = -1
        self._gone: str | None = None
        self._write_with(Writer(MemoryEngine(database, self._transaction()), self.name, environment))
        keep_out_of_children(self)

    def _transaction(self) -> MemoryTransaction:
        return MemoryTransaction(self.database, self._environment)

    async def query(self, sql: str, parameters: Sequence[Any] = ()) -> Rows:
        """Read what is committed."""
        return self._open_database().sql.read(sql, parameters)

    def _open_database(self) -> MemoryDatabase:
        if self._gone is not None:
            raise Unavailable(f"store {self.name} is unavailable: {self._gone}")
        return self.database

    async def changed(self) -> bool:
        """Say whether anyone has committed since the last call; this process counts, too."""
        seen, self._seen = self._seen, self._open_database().commits
        return seen != self._seen

    def on_news(self, told: Callable[[], None]) -> None:
        """Tell nobody."""

    quiet_seconds = 0.0

    async def close(self) -> None:
        """Settle what was submitted, then let go of the database."""
        await self._writer.close()
        self._gone = self._gone or "it is closed"

    def abandon(self) -> None:
        """Let go at once, as a crash does: what is not committed is gone, and nobody hears anything."""
        self._writer.abandon()
        self._gone = "its process has crashed"

    def keep_out(self) -> None:
        """Refuse to be read in a child process that was forked with this store in it."""
        self._gone = "it was opened before this process was forked; open it again in this process"

    async def health(self) -> list[tuple[str, bool, str]]:
        """Return what the doctor wants to know of the database."""
        return [("durability", False, "in memory: everything is gone with this process")]


class MemoryHome(MemoryStore, WrittenHome):
    """Fulfils ``ports.home.Home``, except that nothing is durable."""

    def __init__(
        self,
        database: MemoryDatabase | str | None,
        environment: Environment,
        codec: Codec,
        *,
        name: str | None = None,
    ) -> None:
        self._codec = codec
        super().__init__(database, environment, name=name)
        self.sources = MemoryCommittedSources(self._open_database, codec)

    def _transaction(self) -> MemoryTransaction:
        return MemoryHomeTransaction(self.database, self._environment, self._codec)

    # ── The journal ─────────────────────────────────────────────────────────────────────────

    async def read(
        self, stream: StreamName, *, after: Version = Version(0), limit: int = PAGE_EVENTS_MAX
    ) -> list[Recorded]:
        """Return the events of *stream* behind *after*."""
        key = self._open_database().keys.committed.get(stream)
        return [] if key is None else self._recorded(key, after, limit)

    async def page(self, *, after: Cursor = START, limit: int = PAGE_EVENTS_MAX) -> Page:
        """Return events of all streams behind *after*, a position: they are given in commit order."""
        first = int(after or 0)
        events = self._between(first, first + limit)
        return Page(events, Cursor(str(first + len(events))))

    async def newest(self, *, before: Position | None = None, limit: int = PAGE_EVENTS_MAX) -> Page:
        """Return the last events before a position."""
        newest = len(self._open_database().events)
        last = newest if before is None else min(before - 1, newest)
        return Page(self._between(max(last - limit, 0), last), Cursor(str(newest)))

    def _between(self, first: int, last: int) -> list[Recorded]:
        database = self._open_database()
        with database.lock:
            events = database.events[first:last]
        return [recorded_of(event, self._codec) for event in events]

    def follow(self, *, after: Cursor = START) -> AsyncIterator[Recorded]:
        """Yield every event behind *after*, and then each new one."""
        return follow(self, after)

    async def load(self, key: int, *, after: Version = Version(0)) -> list[Recorded]:
        """Return a transaction's events behind *after*."""
        return self._recorded(key, after, None)

    async def histories(self, keys: Collection[int]) -> dict[int, History]:
        """Return all events of each of these transactions."""
        database = self._open_database()
        with database.lock:
            events = [event for key in keys for event in database.streams.get(key, ())]
        return histories([(each.key, each.type_name, each.data) for each in events], self._codec.decode_event)

    def _recorded(self, key: int, after: int, limit: int | None) -> list[Recorded]:
        database = self._open_database()
        with database.lock:
            events = database.streams.get(key, [])[after : None if limit is None else after + limit]
        return [recorded_of(event, self._codec) for event in events]

    # ── Heads and nodes ─────────────────────────────────────────────────────────────────────

    async def head(self, key: int) -> Head:
        """Return a transaction's head by key."""
        head = self._open_database().heads.committed.get(key)
        if head is None:
            raise NotFound(f"no transaction has the key {key}")
        return head

    async def heads_of(self, keys: Collection[int]) -> list[Head]:
        """Return the heads of those of *keys* that a transaction has."""
        heads = self._open_database().heads.committed
        return [heads[key] for key in keys if key in heads]

    async def find(self, id: TransactionId) -> Head | None:
        """Return a transaction's head by its id."""
        database = self._open_database()
        key = database.keys.committed.get(transaction_stream(id))
        return None if key is None else database.heads.committed.get(key)

    async def begun(self, ids: Collection[TransactionId]) -> set[TransactionId]:
        """Return those of *ids* that have a stream."""
        keys = self._open_database().keys.committed
        return {id for id in ids if transaction_stream(id) in keys}

    async def heads(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        is_open: bool | None = None,
        before: int | None = None,
        limit: int = HEADS_MAX,
    ) -> list[Head]:
        """Return heads, newest first."""
        found = [
            head
            for head in self._heads()
            if (status is None or head.status == status)
            and (kind is None or head.kind == kind)
            and (is_open is None or head.has_ended is not is_open)
            and (before is None or head.key < before)
        ]
        return found[::-1][:limit]

    async def children(self, key: int) -> list[Head]:
        """Return the heads of the transactions that are steps of this one."""
        return [head for head in self._heads() if head.parent == key]

    def _heads(self) -> list[Head]:
        database = self._open_database()
        with database.lock:
            return [head for _, head in sorted(database.heads.committed.items())]

    async def next_wake(self, node: NodeId) -> float | None:
        """Return when the node's next transaction wakes."""
        database = self._open_database()
        with database.lock:
            heads = [database.heads.committed[key] for key in database.open]
        return min((h.wake_at for h in heads if h.driver == node and h.wake_at is not None), default=None)

    async def counts(self) -> dict[tuple[str, str], int]:
        """Return how many transactions there are by (kind, status)."""
        counts: dict[tuple[str, str], int] = {}
        for head in self._heads():
            counts[head.kind, head.status] = counts.get((head.kind, head.status), 0) + 1
        return counts

    async def definition(self, kind: str, definition: str) -> str | None:
        """Return the kept shape of a definition."""
        return self._open_database().definitions.committed.get((kind, definition))

    async def streams(self, prefix: str, *, limit: int = HEADS_MAX) -> list[StreamName]:
        """Return the names of the streams that begin with *prefix*."""
        database = self._open_database()
        with database.lock:
            return sorted(name for name in database.keys.committed if name.startswith(prefix))[:limit]

    async def nodes(self) -> list[NodeRow]:
        """Return the nodes, newest first."""
        database = self._open_database()
        with database.lock:
            return [*database.nodes.committed.values()][::-1]
