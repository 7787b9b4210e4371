"""A PostgreSQL database as a store: user code in turns on one line, reads on a few others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Self, TypeVar

import asyncpg

from finality.adapters.connections import Connections
from finality.adapters.fork import keep_out_of_children
from finality.adapters.group_commit import Writer
from finality.adapters.named_statements import named_statements
from finality.adapters.postgres.bell import Bell
from finality.adapters.postgres.cursor import Place, place_of
from finality.adapters.postgres.engine import PostgresEngine
from finality.adapters.postgres.events import PostgresEventReads
from finality.adapters.postgres.health import findings
from finality.adapters.postgres.line import Line
from finality.adapters.postgres.queries import QUERIES
from finality.adapters.postgres.schema import check, migrate
from finality.adapters.postgres.session import (
    ERRORS,
    Connection,
    Server,
    drop,
    has_ended,
    is_clean,
    unavailable,
)
from finality.adapters.postgres.statement import refuse, statement_of
from finality.adapters.postgres.transaction import PostgresTransaction
from finality.adapters.written import WrittenStore
from finality.core.errors import Unavailable
from finality.core.ids import Cursor
from finality.core.secret import without_password
from finality.ports.environment import Environment
from finality.ports.store import Rows

T = TypeVar("T")

SETTINGS = named_statements("finality.adapters.postgres", "branch.sql")
READERS_MAX = 8  # Statements that read at once; a server's connections are few.
LINE_SECONDS_KEPT = 30 * 86_400.0  # A node that has written nothing for a month has nothing to ask.
QUIET_SECONDS = 0.25  # Where nodes ring; sessions that were joined and SQL by hand do not.
LOCK_SECONDS_MAX = 10.0  # A turn that waits longer for a row holds up all the others of its node.


class PostgresStore(WrittenStore, PostgresEventReads):
    """Fulfils ``ports.store.Store``. Any number of processes may open the same database."""

    _is_home = False

    def __init__(self, url: str, environment: Environment, *, name: str | None = None) -> None:
        self.name = name or without_password(url)
        self.url = url
        self._environment = environment
        self._seen = ""
        self._bell: Bell | None = None
        self._is_asked = False
        server = self._server = Server(url, self.name, LOCK_SECONDS_MAX, "store")
        self._readers: Connections[Connection] = Connections(
            self.name, READERS_MAX, connect=server.connect, is_clean=is_clean, drop=drop
        )
        self._gone: str | None = None
        self._cluster = ""
        self._line = Line(server)
        engine = PostgresEngine(self._line, self._transaction(self._line), environment)
        self._write_with(Writer(engine, self.name, environment))
        keep_out_of_children(self)

    @classmethod
    async def opened(cls, store: Self, *, must_exist: bool = False) -> Self:
        """Return *store* once its schema is as this code needs it.

        Args:
            must_exist: Change nothing: it is there, and as new as this code.
        """
        try:
            await store._ask(store._check if must_exist else store._prepare)
        except BaseException:
            await store.close()
            raise
        return store

    async def _check(self, connection: Connection) -> None:
        await check(connection, without_password(self.url), is_home=self._is_home)

    async def _prepare(self, connection: Connection) -> None:
        await migrate(connection, is_home=self._is_home)
        await connection.execute(QUERIES["prune_lines"], self._environment.now() - LINE_SECONDS_KEPT)

    def _transaction(self, line: Line) -> PostgresTransaction:
        return PostgresTransaction(line, self._environment)

    async def query(self, sql: str, parameters: Sequence[Any] = ()) -> Rows:
        """Read what is committed; placeholders are PostgreSQL's, $1 and $2."""
        refusal = statement_of(sql).refusal
        if refusal:
            raise refuse(sql, refusal)
        try:
            return await self._ask(lambda connection: _read_only(connection, sql, parameters))
        except asyncpg.ReadOnlySQLTransactionError as error:
            raise refuse(sql, "it would write; use a transaction") from error

    async def _ask(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Return what *work* makes of a connection. It may be done twice: a line may have died unnoticed.

        Raises:
            Unavailable: The server is out of reach.
        """
        if self._gone is not None:
            raise Unavailable(f"store {self.name} is unavailable: {self._gone}")
        for attempt in (1, 2):
            connection = await self._readers.take()
            try:
                return await work(connection)
            except ERRORS as error:
                if not has_ended(connection, error):
                    raise  # The statement's own.
                drop(connection)  # Nobody is given it again.
                if attempt == 2:
                    raise unavailable(self.name, error, "store") from error
                self._readers.forget_idle()
            finally:
                self._readers.give_back(connection)
        raise AssertionError("the second attempt has returned or raised")

    async def _rows(self, sql: str, *parameters: Any) -> Sequence[Any]:
        async def fetch(connection: Connection) -> Sequence[Any]:
            rows: Sequence[Any] = await connection.fetch(sql, *parameters)
            return rows

        return await self._ask(fetch)

    # ── Where a follower is ─────────────────────────────────────────────────────────────────

    async def _placed(self, after: Cursor) -> Place:
        """Return where *after* is, in the snapshot that it is read by: the one begun, or a new one."""
        place = place_of(after, await self._cluster_id())
        return place if place.shown else replace(place, shown=await self._snapshot())

    async def _snapshot(self) -> str:
        return str((await self._rows(QUERIES["snapshot"]))[0][0])

    async def _cluster_id(self) -> str:
        if not self._cluster:
            self._cluster = str((await self._rows(QUERIES["cluster"]))[0][0])
        return self._cluster

    async def changed(self) -> bool:
        """Say whether anyone has committed since the last call; this process counts, too."""
        self._is_asked = True  # First: what rings from now on may be behind what is seen.
        # No transaction commits without changing what a snapshot shows.
        seen, self._seen = self._seen, await self._snapshot()
        return seen != self._seen

    def on_news(self, told: Callable[[], None]) -> None:
        """Call *told* when a node has committed."""

        def hear() -> None:
            if self._is_asked:
                self._is_asked = False
                told()

        self._bell = Bell(self._server, hear, self._environment.chance)
        self._writer.batches.on_commit = self._bell.ring

    @property
    def quiet_seconds(self) -> float:
        """Return how long nobody need ask where nodes ring."""
        return QUIET_SECONDS if self._bell is not None and self._bell.is_heard else 0.0

    async def close(self) -> None:
        """Settle what was submitted, then let go of the database."""
        await self._writer.close()
        if self._bell is not None:
            await self._bell.close()
            self._bell = None
        if self._gone is None:
            self._gone = "it is closed"
            await asyncio.to_thread(self._line.close)
            self._readers.close()
            await asyncio.sleep(0)  # Transports that were cut say so in the loop's next turn.

    def keep_out(self) -> None:
        """Refuse to be read in a child process that was forked with this store in it."""
        self._gone = "it was opened before this process was forked; open it again in this process"

    async def health(self) -> list[tuple[str, bool, str]]:
        """Return what the doctor wants to know of the database."""
        return await self._ask(lambda connection: findings(connection, SETTINGS))


async def _read_only(connection: Connection, sql: str, parameters: Sequence[Any]) -> Rows:
    async with connection.transaction(readonly=True):
        return Rows(tuple(row) for row in await connection.fetch(sql, *parameters))
