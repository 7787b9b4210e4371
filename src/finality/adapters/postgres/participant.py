"""A PostgreSQL database as a participant: ``PREPARE TRANSACTION``, and a witness in a table of its own.

```
    BEGIN ─ statements ─ INSERT witness; PREPARE TRANSACTION ──▶ COMMIT PREPARED
                        └──────── one round trip ─────────┘      or ROLLBACK PREPARED, from anywhere
```

The witness is written by the branch's own transaction, so it is there exactly when the branch has
committed. Where nobody knows a prepared transaction any more, the witness tells what became of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TypeVar

import asyncpg

from finality.adapters.connections import Connections
from finality.adapters.named_statements import named_statements
from finality.adapters.postgres.borrowed import VoteStatements
from finality.adapters.postgres.branch import WITNESS_KEY, PostgresBranch, opening
from finality.adapters.postgres.health import findings, holds
from finality.adapters.postgres.session import (
    ERRORS,
    Connection,
    Server,
    drop,
    is_clean,
    literal,
    state_of,
    unavailable,
)
from finality.core.errors import DefinitionError, Unavailable
from finality.core.ids import TransactionId
from finality.core.two_phase import Decision
from finality.ports.branch_names import check_branch, check_name
from finality.ports.environment import Environment
from finality.ports.participant import BranchId, InDoubt

ISOLATIONS = ("read committed", "repeatable read", "serializable")
COMMITTED = ("voted", "commit")  # What a witness says.
NO_SUCH_BRANCH, BUSY = "42704", "55000"
BUSY_ATTEMPTS_MAX = 20  # Another session is finishing the same branch; that takes one write to disk.
BUSY_SECONDS = 0.01
PRUNE_SECONDS = 3_600.0
PRUNE_ROWS_MAX = 10_000  # A sweep; the next one goes on.

T = TypeVar("T")


class PostgresParticipant:
    """Fulfils ``ports.participant.Participant``."""

    def __init__(
        self,
        url: str,
        *,
        name: str,
        isolation: str,
        lock_timeout: timedelta,
        connections_max: int,
        witness_kept: timedelta,
    ) -> None:
        if isolation not in ISOLATIONS:
            raise DefinitionError(
                f"no isolation is called {isolation!r}: write one of {', '.join(ISOLATIONS)}"
            )
        self.name = check_name(name)
        self._server = Server(url, name, lock_timeout.total_seconds())
        self._isolation = isolation.upper()
        self._witness_kept = witness_kept
        self._connections: Connections[Connection] = Connections(
            name, connections_max, connect=self._connect, is_clean=is_clean, drop=drop
        )
        self._queries = named_statements(__package__, "branch.sql")
        self._table = ""
        self._pruned_at = 0.0
        self._environment: Environment | None = None

    # ── Sessions ────────────────────────────────────────────────────────────────────────────

    async def open(self, environment: Environment) -> None:
        """Connect, and make sure that the witness's table is there."""
        self._environment = environment
        self._connections.give_back(await self._connections.take())

    async def _connect(self) -> Connection:
        connection = await self._server.connect()
        try:
            self._table = self._table or await self._make_table(connection)
            await connection.execute(self._queries["keep_witness"].format(table=self._table))
        except BaseException as error:
            drop(connection)
            if isinstance(error, ERRORS):
                raise unavailable(self.name, error) from error
            raise
        return connection

    async def _make_table(self, connection: Connection) -> str:
        table, schema = await connection.fetchrow(self._queries["find_table"])
        if table is not None:
            return str(table)  # Qualified: a branch may set a search_path of its own.
        table = f"{schema}.finality_branch"
        async with connection.transaction():
            await connection.execute(self._queries["lock_schema"])
            await connection.execute(self._queries["create_table"].format(table=table))
            await connection.execute(self._queries["create_index"].format(table=table))
            await connection.execute(self._queries["create_index_of_votes"].format(table=table))
        return str(table)

    def _sql(self, name: str, branch: BranchId) -> str:
        """Return what *branch* says, without parameters: several statements make one message."""
        return self._queries[name].format(
            table=self._table,
            gid=literal(str(branch)),
            transaction=literal(branch.transaction),
            home=literal(branch.home),
            branch=literal(branch.name),
        )

    async def _ask(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Return what *work* makes of a connection. It may be done twice: a line may have died unnoticed.

        Raises:
            Unavailable: The server is out of reach, or will not do it.
        """
        for attempt in (1, 2):
            connection = await self._connections.take(is_finishing=True)
            try:
                return await work(connection)
            except ERRORS as error:
                if attempt == 2 or not connection.is_closed():
                    raise unavailable(self.name, error) from error
                self._connections.forget_idle()
            finally:
                self._connections.give_back(connection)
        raise AssertionError("the second attempt has returned or raised")

    # ── The port ────────────────────────────────────────────────────────────────────────────

    async def begin(self, branch: BranchId, *, deadline: float | None = None) -> PostgresBranch:
        """Begin a branch."""
        check_branch(branch)

        def begins(connection: Connection) -> Sequence[str]:
            return opening(self._isolation, self._seconds_left(deadline), connection.get_server_version())

        connection = await self._connections.take()
        return PostgresBranch(branch, connection, self._connections, self._server, self._sql, begins)

    def _seconds_left(self, deadline: float | None) -> float | None:
        if deadline is None or self._environment is None:
            return None
        return deadline - self._environment.now()

    async def vote_statements(self, branch: BranchId) -> VoteStatements:
        """Return what a branch says at its end that works on another library's connection.

        Raises:
            Unavailable: The table of its witness cannot be made sure of.
        """
        if not self._table:
            await self._ask(lambda connection: connection.fetchval("SELECT 1"))
        return VoteStatements(
            has_written=self._queries["has_written"],
            prepare=self._sql("vote_elsewhere", branch),
            commit=self._sql("commit_elsewhere", branch),
            witness_key=WITNESS_KEY,
        )

    async def finish(self, branch: BranchId, decision: Decision) -> Decision:
        """Finish a branch that may be prepared, as decided; return what it has really done."""
        sql = self._queries["commit_prepared" if decision is Decision.COMMIT else "abort_prepared"]
        sql = sql.format(gid=literal(str(branch)))
        if await self._ask(lambda connection: self._was_prepared(connection, sql)):
            return decision
        if decision is Decision.ABORT:
            return await self.settle(branch)
        return await self._ask(lambda connection: self._outcome(connection, branch))

    async def _was_prepared(self, connection: Connection, sql: str) -> bool:
        for attempt in range(BUSY_ATTEMPTS_MAX):
            try:
                await self._server.answer(connection, sql)
            except asyncpg.PostgresError as error:
                if state_of(error) == NO_SUCH_BRANCH:
                    return False
                if state_of(error) != BUSY:
                    raise
                await asyncio.sleep(BUSY_SECONDS * attempt)
            else:
                return True
        raise Unavailable(
            f"participant {self.name} is unavailable: other sessions are finishing the branch; ask again"
        )

    async def settle(self, branch: BranchId) -> Decision:
        """Say what became of a one-phase commit whose answer was lost, and keep it so for ever."""
        return await self._ask(lambda connection: self._give_up(connection, branch))

    async def _give_up(self, connection: Connection, branch: BranchId) -> Decision:
        # The row first: it waits for a commit under way, and stops every later one. The look is a
        # statement of its own, since one statement sees what was there before it waited.
        key = (branch.transaction, branch.home, branch.name)
        await connection.execute(self._queries["give_up"].format(table=self._table), *key)
        return await self._outcome(connection, branch)

    async def _outcome(self, connection: Connection, branch: BranchId) -> Decision:
        key = (branch.transaction, branch.home, branch.name)
        outcome = await connection.fetchval(self._queries["outcome"].format(table=self._table), *key)
        return Decision.COMMIT if outcome in COMMITTED else Decision.ABORT

    async def in_doubt(self, *, says_holds: bool = False) -> Sequence[InDoubt]:
        """Return the prepared branches of ours that its database holds, oldest first, of any home."""
        sql = self._queries["in_doubt_with_locks" if says_holds else "in_doubt"].format()
        rows = await self._ask(lambda connection: connection.fetch(sql))
        await self._prune()
        return [
            InDoubt(branch, age, holds(locks))
            for gid, age, locks in rows
            if (branch := BranchId.parse(gid)) is not None and branch.participant == self.name
        ]

    async def committed(self, *, within: timedelta, limit: int) -> Sequence[BranchId]:
        """Return branches that have voted and committed lately."""
        sql = self._queries["committed"].format(table=self._table)
        rows = await self._ask(lambda connection: connection.fetch(sql, within, limit))
        found = (BranchId.named(home, TransactionId(id), name) for id, home, name in rows)
        return [branch for branch in found if branch.participant == self.name]

    async def _prune(self) -> None:
        assert self._environment is not None, "the participant is open"
        if self._environment.now() < self._pruned_at + PRUNE_SECONDS:
            return
        sql = self._queries["prune"].format(table=self._table)
        tag = await self._ask(lambda connection: connection.execute(sql, self._witness_kept, PRUNE_ROWS_MAX))
        if tag != f"DELETE {PRUNE_ROWS_MAX}":
            self._pruned_at = self._environment.now()

    async def health(self) -> list[tuple[str, bool, str]]:
        """Return (check, is_good, finding) about what its promises rest on."""
        return await self._ask(lambda connection: findings(connection, self._queries))

    async def close(self) -> None:
        """Let go of its connections."""
        self._connections.close()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0)  # Transports that were cut say so in the loop's next turn.


def postgres(
    url: str,
    *,
    name: str,
    isolation: str = "read committed",
    lock_timeout: timedelta = timedelta(seconds=5),
    connections_max: int = 20,
    witness_kept: timedelta = timedelta(days=30),
) -> PostgresParticipant:
    """Return a PostgreSQL database as a participant; it is connected to by the node.

    Args:
        url: ``postgresql://user:password@host:5432/bank``; further settings as libpq takes them.
        name: What decisions call it, the same on every node and for ever.
        isolation: Of its branches: ``read committed``, ``repeatable read`` or ``serializable``.
        lock_timeout: How long a statement waits for another transaction's lock before it is a
            ``Conflict``. No server sees a deadlock that goes through two of them; this ends it.
        connections_max: Branches at once; others wait. What finishes branches has a few more.
        witness_kept: How long it is known what became of a branch. Longer than any node that knows
            of it may be out of service.

    Raises:
        DefinitionError: The name or the isolation is none.
    """
    return PostgresParticipant(
        url,
        name=name,
        isolation=isolation,
        lock_timeout=lock_timeout,
        connections_max=connections_max,
        witness_kept=witness_kept,
    )
