"""A SQLite database as a store, and as a node's home."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import apsw

from finality.adapters.follow import follow
from finality.adapters.fork import keep_out_of_children
from finality.adapters.group_commit import Writer
from finality.adapters.histories import histories
from finality.adapters.sqlite.connection import OUT_OF_REACH, connect, explain, health_of
from finality.adapters.sqlite.engine import SqliteEngine
from finality.adapters.sqlite.events import SqliteEventReads
from finality.adapters.sqlite.guard import Guard
from finality.adapters.sqlite.home_transaction import SqliteHomeTransaction
from finality.adapters.sqlite.inotify import Ear, ear
from finality.adapters.sqlite.queries import QUERIES
from finality.adapters.sqlite.rows import (
    HEADS,
    HEADS_IN_ONE_ROW,
    Names,
    head_of,
    heads_in,
    histories_in,
    node_of,
    recorded_of,
)
from finality.adapters.sqlite.schema import HOME, STORE, migrate, migrations
from finality.adapters.sqlite.sources import SqliteCommittedSources
from finality.adapters.sqlite.transaction import SqliteTransaction
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

QUIET_SECONDS = 5.0  # Of a file that is heard: in case that a write was not.
# By their index: it is short, and the newest heads may all have ended. So the planner would not do it.
OPEN = "s.stream IN (SELECT stream FROM finality_stream INDEXED BY finality_stream_open WHERE open = 1)"
ONE_ROW_BYTES_MAX = 1 << 18  # Of data: to write more as text takes longer than many rows do.
NODES_MAX = 1_000  # Of the newest nodes; older ones stay in the table for the audit trail.


class Gone:
    """Stands where a connection was."""

    def __init__(self, why: str) -> None:
        self._why = why

    def __getattr__(self, name: str) -> Any:
        raise Unavailable(self._why)


class SqliteStore(WrittenStore, SqliteEventReads):
    """Fulfils ``ports.store.Store``. Several processes may open the same file."""

    _parts: tuple[str, ...] = (STORE,)

    def __init__(self, path: Path | str, environment: Environment, *, name: str | None = None) -> None:
        self.name = name or str(path)
        self.path = path
        self._environment = environment
        self._seen = -1
        self._ear: Ear | None = None
        self._connection = connect(path)
        try:
            migrate(self._connection, migrations(*self._parts))
            # Any: once it is closed, what stands here refuses whatever is asked of it.
            self._reader: Any = connect(path, is_reader=True)
        except BaseException:
            self._connection.close()
            raise
        self._guard = Guard(self._reader, is_reader=True)
        engine = SqliteEngine(self._connection, self._transaction(), path, environment)
        self._write_with(Writer(engine, self.name, environment))
        keep_out_of_children(self)

    def _transaction(self) -> SqliteTransaction:
        return SqliteTransaction(self._connection, self._environment)

    async def query(self, sql: str, parameters: Sequence[Any] = ()) -> Rows:
        """Read what is committed."""
        try:
            return self._guard.execute(self._reader.execute, sql, parameters)
        except OUT_OF_REACH as error:
            raise explain(error) from error

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        try:
            return list(self._reader.execute(sql, parameters).fetchall())
        except OUT_OF_REACH as error:
            raise explain(error) from error

    async def changed(self) -> bool:
        """Say whether anyone has committed since the last call; this process counts, too."""
        if self._ear is not None:
            self._ear.open()  # First: what is written from now on may be behind what is seen.
        # Not Connection.data_version(): that is what the cache has seen, and asks nobody.
        seen, self._seen = self._seen, self._rows("PRAGMA data_version")[0][0]
        return seen != self._seen

    def on_news(self, told: Callable[[], None]) -> None:
        """Call *told* when somebody has written, where the operating system says so."""
        if self._environment.is_threaded:
            self._ear = ear(f"{self.path}-wal", told)

    @property
    def quiet_seconds(self) -> float:
        """Return how long nobody need ask what is heard."""
        return 0.0 if self._ear is None else QUIET_SECONDS

    async def close(self) -> None:
        """Settle what was submitted, then let go of the file."""
        await self._writer.close()
        self._let_go()

    def abandon(self) -> None:
        """Let go at once, as a crash does: what is not committed is gone, and nobody hears anything."""
        self._writer.abandon()
        self._let_go()

    def _let_go(self) -> None:
        if self._ear is not None:
            self._ear.close()
            self._ear = None
        if isinstance(self._reader, apsw.Connection):
            self._reader.close()
            self._connection.close()
            self._reader = Gone(f"store {self.name} is unavailable: it is closed")

    def keep_out(self) -> None:
        """Refuse to be read in a child process that was forked with this store in it."""
        self._kept, self._ear = (self._reader, self._ear), None
        self._reader = Gone(
            f"store {self.name} is unavailable: it was opened before this process was forked; "
            "open it again in this process"
        )

    async def health(self) -> list[tuple[str, bool, str]]:
        """Return what the doctor wants to know of the database."""
        try:
            return health_of(self._reader)
        except OUT_OF_REACH as error:
            raise explain(error) from error


class SqliteHome(SqliteStore, WrittenHome):
    """Fulfils ``ports.home.Home``."""

    _parts = (STORE, HOME)

    def __init__(
        self, path: Path | str, environment: Environment, codec: Codec, *, name: str | None = None
    ) -> None:
        self._codec = codec
        self._names = Names()
        self.sources = SqliteCommittedSources(self._rows, self._recorded)
        super().__init__(path, environment, name=name)

    def _transaction(self) -> SqliteTransaction:
        return SqliteHomeTransaction(self._connection, self._environment, self._codec, Names())

    # ── The journal ─────────────────────────────────────────────────────────────────────────

    async def read(
        self, stream: StreamName, *, after: Version = Version(0), limit: int = PAGE_EVENTS_MAX
    ) -> list[Recorded]:
        """Return the events of *stream* behind *after*."""
        found = self._rows(QUERIES["stream"], (stream,))
        return self._recorded("read", (found[0][0], after, limit)) if found else []

    async def page(self, *, after: Cursor = START, limit: int = PAGE_EVENTS_MAX) -> Page:
        """Return events of all streams behind *after*, a position: they are given in commit order."""
        events = self._recorded("page", (int(after or 0), limit))
        return Page(events, Cursor(str(events[-1].position)) if events else after)

    async def newest(self, *, before: Position | None = None, limit: int = PAGE_EVENTS_MAX) -> Page:
        """Return the last events before a position."""
        newest = self._rows(QUERIES["end"])[0][0] or 0
        last = newest if before is None else min(before - 1, newest)
        return Page(self._recorded("newest", (last, limit))[::-1], Cursor(str(newest)))

    def follow(self, *, after: Cursor = START) -> AsyncIterator[Recorded]:
        """Yield every event behind *after*, and then each new one."""
        return follow(self, after)

    async def load(self, key: int, *, after: Version = Version(0)) -> list[Recorded]:
        """Return a transaction's events behind *after*."""
        return self._recorded("read", (key, after, -1))

    async def histories(self, keys: Collection[int]) -> dict[int, History]:
        """Return all events of each of these transactions."""
        wanted = (json.dumps([*keys]),)
        [(size,)] = self._rows(QUERIES["histories_bytes"], wanted)
        if size > ONE_ROW_BYTES_MAX:
            rows: Iterable[Any] = self._rows(QUERIES["histories"], wanted)
        else:
            rows = histories_in(*self._rows(QUERIES["histories_in_one_row"], wanted))
        return histories(rows, self._codec.decode_event)

    def _recorded(self, query: str, parameters: tuple[Any, ...]) -> list[Recorded]:
        rows = self._rows(QUERIES[query], parameters)
        return [recorded_of(row, self._codec, self._names, self._reader) for row in rows]

    # ── Heads and nodes ─────────────────────────────────────────────────────────────────────

    async def head(self, key: int) -> Head:
        """Return a transaction's head by key."""
        found = self._heads("WHERE s.stream = ?", (key,))
        if not found:
            raise NotFound(f"no transaction has the key {key}")
        return found[0]

    async def heads_of(self, keys: Collection[int]) -> list[Head]:
        """Return the heads of those of *keys* that a transaction has."""
        where = "WHERE s.stream IN (SELECT value FROM json_each(?))"
        return heads_in(*self._rows(f"{HEADS_IN_ONE_ROW} {where}", (json.dumps([*keys]),)))

    async def find(self, id: TransactionId) -> Head | None:
        """Return a transaction's head by its id."""
        found = self._heads("WHERE s.name = ?", (transaction_stream(id),))
        return found[0] if found else None

    async def begun(self, ids: Collection[TransactionId]) -> set[TransactionId]:
        """Return those of *ids* that have a stream."""
        names = {transaction_stream(id): id for id in ids}
        return {names[name] for (name,) in self._rows(QUERIES["begun"], (json.dumps([*names]),))}

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
        wanted = {"s.status = ?": status, "d.kind = ?": kind, "s.stream < ?": before}
        conditions = [condition for condition, value in wanted.items() if value is not None]
        values = [value for value in wanted.values() if value is not None]
        if is_open is not None:
            conditions.append(OPEN if is_open else "s.open IS NULL")
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        return self._heads(f"{where} ORDER BY s.stream DESC LIMIT ?", (*values, limit))

    async def children(self, key: int) -> list[Head]:
        """Return the heads of the transactions that are steps of this one."""
        return self._heads("WHERE s.parent = ? ORDER BY s.stream", (key,))

    def _heads(self, where: str, parameters: tuple[Any, ...]) -> list[Head]:
        return [head_of(row) for row in self._rows(f"{HEADS} {where}", parameters)]

    async def next_wake(self, node: NodeId) -> float | None:
        """Return when the node's next transaction wakes."""
        wakes = self._rows(QUERIES["next_wake"], (node,))
        return None if wakes[0][0] is None else float(wakes[0][0])

    async def counts(self) -> dict[tuple[str, str], int]:
        """Return how many transactions there are by (kind, status)."""
        return {(kind, status): n for kind, status, n in self._rows(QUERIES["counts"])}

    async def definition(self, kind: str, definition: str) -> str | None:
        """Return the kept shape of a definition."""
        found = self._rows(QUERIES["definition"], (kind, definition))
        return str(found[0][0]) if found else None

    async def streams(self, prefix: str, *, limit: int = HEADS_MAX) -> list[StreamName]:
        """Return the names of the streams that begin with *prefix*."""
        return [StreamName(name) for (name,) in self._rows(QUERIES["streams"], (prefix, prefix, limit))]

    async def nodes(self) -> list[NodeRow]:
        """Return the nodes, newest first."""
        return [node_of(row) for row in self._rows(QUERIES["nodes"], (NODES_MAX,))]
