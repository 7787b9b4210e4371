"""A SQLite database as a store, and as a node's home."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import apsw

from finality.adapters.group_commit import Writer, WriterScope
from finality.adapters.sqlite.engine import SqliteEngine, connect
from finality.adapters.sqlite.home_transaction import SqliteHomeTransaction
from finality.adapters.sqlite.queries import QUERIES
from finality.adapters.sqlite.rows import Names, head_of, node_of, recorded_of
from finality.adapters.sqlite.schema import migrate, migrations
from finality.adapters.sqlite.transaction import SqliteTransaction
from finality.core.ids import (
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
from finality.ports.home import HEADS_MAX, Head, NodeRow
from finality.ports.journal import PAGE_EVENTS_MAX
from finality.ports.store import Rows, Turn

NODES_MAX = 1_000  # Of the newest nodes; older ones stay in the table for the audit trail.
FOLLOW_SECONDS = 0.05  # How soon a follower sees a commit; a look costs microseconds.


class SqliteStore:
    """Fulfils ``ports.store.Store``. Several processes may open the same file."""

    def __init__(self, path: Path | str, environment: Environment, *, name: str | None = None) -> None:
        self.name = name or str(path)
        self.path = path
        self._environment = environment
        self._connection = connection = connect(path)
        migrate(connection, migrations(is_home=False), part="store")
        self._reader = connect(path, is_reader=True)
        self._writer = Writer(self._engine(connection), self.name, environment)
        self.submit = self._writer.put

    def _engine(self, connection: apsw.Connection) -> SqliteEngine:
        return SqliteEngine(connection, SqliteTransaction(connection, self._environment))

    def scope(self, name: str) -> WriterScope:
        """Return a transaction for ``async`` code."""
        return WriterScope(self._writer, name)

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> Rows:
        """Read what is committed."""
        return Rows(self._reader.execute(sql, parameters).fetchall())

    async def close(self) -> None:
        """Settle what was submitted, then let go of the file."""
        await self._writer.close()
        self._reader.close()
        self._connection.close()

    def health(self) -> list[tuple[str, bool, str]]:
        """Return what the doctor wants to know of the database."""
        journal_mode = self._reader.pragma("journal_mode")
        synchronous = self._reader.pragma("synchronous")
        version = apsw.sqlite_lib_version()
        is_fixed = apsw.SQLITE_VERSION_NUMBER >= 3_051_003
        return [
            ("sqlite", is_fixed, f"SQLite {version}"),
            ("journal mode", journal_mode == "wal", f"journal_mode = {journal_mode}"),
            ("durability", synchronous == 2, f"synchronous = {synchronous} (2 is FULL)"),
        ]


class SqliteHome(SqliteStore):
    """Fulfils ``ports.home.Home``."""

    def __init__(
        self, path: Path | str, environment: Environment, codec: Codec, *, name: str | None = None
    ) -> None:
        self._codec = codec
        self._names = Names()
        self._seen = -1
        super().__init__(path, environment, name=name)

    def _engine(self, connection: apsw.Connection) -> SqliteEngine:
        migrate(connection, migrations(is_home=True), part="home")
        return SqliteEngine(
            connection, SqliteHomeTransaction(connection, self._environment, self._codec, Names())
        )

    # ── The journal ─────────────────────────────────────────────────────────────────────────

    async def append(
        self, stream: StreamName, events: Sequence[Any], *, expected: Version
    ) -> Version:
        """Append *events* to *stream*, all or none; durable on return."""
        scope = Append(stream, events, expected)
        self.submit(scope)
        await scope.done
        return Version(expected + len(events))

    async def read(
        self, stream: StreamName, *, after: Version = Version(0), limit: int = PAGE_EVENTS_MAX
    ) -> list[Recorded]:
        """Return the events of *stream* behind *after*."""
        row = self._reader.execute(QUERIES["stream"], (stream,)).fetchone()
        return self._recorded("read", (row[0], after, limit)) if row else []

    async def page(
        self, *, after: Position = Position(0), limit: int = PAGE_EVENTS_MAX
    ) -> list[Recorded]:
        """Return events of all streams behind *after*. Positions are given in commit order."""
        return self._recorded("page", (after, limit))

    async def follow(self, *, after: Position = Position(0)) -> AsyncIterator[Recorded]:
        """Yield every event behind *after*, and then each new one."""
        while True:
            page = await self.page(after=after)
            for recorded in page:
                yield recorded
                after = recorded.position
            if not page:
                await asyncio.sleep(FOLLOW_SECONDS)

    def load(self, key: int, *, after: Version = Version(0)) -> list[Recorded]:
        """Return a transaction's events behind *after*."""
        return self._recorded("read", (key, after, -1))

    def _recorded(self, query: str, parameters: tuple[Any, ...]) -> list[Recorded]:
        rows = self._reader.execute(QUERIES[query], parameters).fetchall()
        return [recorded_of(row, self._codec, self._names, self._reader) for row in rows]

    # ── Heads and nodes ─────────────────────────────────────────────────────────────────────

    def find(self, id: TransactionId) -> Head | None:
        """Return a transaction's head by its id."""
        found = self._heads("WHERE s.name = ?", (transaction_stream(id),))
        return found[0] if found else None

    def heads(
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
            conditions.append("s.open = 1" if is_open else "s.open IS NULL")
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        return self._heads(f"{where} ORDER BY s.stream DESC LIMIT ?", (*values, limit))

    def children(self, key: int) -> list[Head]:
        """Return the heads of the transactions that are steps of this one."""
        return self._heads("WHERE s.parent = ? ORDER BY s.stream", (key,))

    def _heads(self, where: str, parameters: tuple[Any, ...]) -> list[Head]:
        rows = self._reader.execute(f"{QUERIES['head_columns']} {where}", parameters).fetchall()
        return [head_of(row) for row in rows]

    def next_wake(self, node: NodeId) -> float | None:
        """Return when the node's next transaction wakes."""
        row = self._reader.execute(QUERIES["node_key"], (node,)).fetchone()
        wake = self._reader.execute(QUERIES["next_wake"], (row[0],)).fetchone() if row else None
        return None if wake is None else wake[0]

    def counts(self) -> dict[tuple[str, str], int]:
        """Return how many transactions there are by (kind, status)."""
        return {(kind, status): n for kind, status, n in self._reader.execute(QUERIES["counts"])}

    def definition(self, kind: str, definition: str) -> str | None:
        """Return the kept shape of a definition."""
        row = self._reader.execute(QUERIES["definition"], (kind, definition)).fetchone()
        return row[0] if row else None

    def nodes(self) -> list[NodeRow]:
        """Return the nodes, newest first."""
        return [node_of(row) for row in self._reader.execute(QUERIES["nodes"], (NODES_MAX,))]

    def changed(self) -> bool:
        """Say whether anyone has committed since the last call."""
        seen, self._seen = self._seen, self._reader.data_version()
        return seen != self._seen


class Append:
    """The turn of a plain append."""

    def __init__(self, stream: StreamName, events: Sequence[Any], expected: Version) -> None:
        self.name = f"append to {stream}"
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stream, self._events, self._expected = stream, events, expected

    def run(self, tx: SqliteHomeTransaction) -> None:
        """Append."""
        tx.append_to(self._stream, self._events, expected=self._expected)

    def forget(self) -> None:
        """Nothing in memory has changed."""

    def settle(self, error: BaseException | None) -> None:
        """Answer the caller."""
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)
