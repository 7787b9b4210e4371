"""A branch in a PostgreSQL database: BEGIN, the user's statements, PREPARE TRANSACTION."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from finality.adapters.connections import Connections
from finality.adapters.postgres.session import (
    Connection,
    answer,
    is_servers_no,
    meaning,
    said,
    state_of,
    unavailable,
)
from finality.adapters.postgres.statement import refuse, statement_of
from finality.core.errors import Conflict, FinalityError, OutcomeUnknown, Refused
from finality.core.two_phase import Vote
from finality.ports.participant import BranchId
from finality.ports.store import Rows, StatementRefused

SURELY_ABORTED = ("40", "23", "25P02")  # On COMMIT. Whatever else it answers, it may have happened.
WITNESS_KEY = "finality_branch_pkey"


class PostgresBranch:
    """Fulfils ``ports.participant.StatementBranch``.

    Attributes:
        session: The server's process that runs it, as ``pg_stat_activity`` calls it.
    """

    def __init__(
        self,
        id: BranchId,
        connection: Connection,
        connections: Connections[Connection],
        sql: Callable[[str, BranchId], str],
    ) -> None:
        self.id = id
        self.session: int = connection.get_server_pid()
        self._connection = connection
        self._connections = connections
        self._sql = sql
        self._name = id.participant
        self._has_written = False
        self._savepoints = 0
        self._failure: str | None = None
        self._is_ending = self._has_ended = False

    # ── Work ────────────────────────────────────────────────────────────────────────────────

    async def execute(self, sql: str, *parameters: Any) -> Rows:
        """Run one statement with ``$1`` for the first of *parameters*; return its rows.

        Raises:
            StatementRefused: It would end the branch, or cannot be prepared; it had no effect.
            Refused: It breaks a constraint. Conflict: somebody else was first.
            Unavailable: The server is out of reach.
            Exception: What is wrong with the statement itself, as the driver tells it.
        """
        self._check_open()
        statement = statement_of(sql)
        if statement.refusal:
            raise refuse(sql, statement.refusal)
        if statement.writes:
            self._has_written = True
        return Rows(map(tuple, await self._watched(self._connection.fetch(sql, *parameters))))

    async def write_ours(self, sql: str, parameters: Sequence[Any]) -> int:
        """Write a table of Finality's in the branch, for ``join_async``; return how many rows that are."""
        self._check_open()
        self._has_written = True
        tag: str = await self._watched(self._connection.execute(sql, *parameters))
        return int(tag.rpartition(" ")[2])

    async def _watched(self, statement: Awaitable[Any]) -> Any:
        try:
            return await statement
        except BaseException as error:
            # The server lets nothing more pass after it; what is swallowed here comes up at the vote.
            self._failure = said(error)
            told = meaning(self._name, self._connection, error)
            if told is None or not isinstance(error, Exception):
                raise
            raise told from error

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo what its block did, and nothing else, if the block raises."""
        self._check_open()
        name = f"finality_{self._savepoints}"
        await self._connection.execute(f"SAVEPOINT {name}")
        self._savepoints += 1
        before = self._failure
        try:
            yield
        except BaseException:
            if not self._has_ended and not self._connection.is_closed():
                await self._connection.execute(f"ROLLBACK TO SAVEPOINT {name}; RELEASE SAVEPOINT {name}")
                self._failure = before
            raise
        else:
            if not self._failure and not self._has_ended:
                await self._connection.execute(f"RELEASE SAVEPOINT {name}")
        finally:
            self._savepoints -= 1

    def _check_open(self) -> None:
        if self._has_ended:
            raise StatementRefused(
                f"branch {self.id} has ended, so nothing more can run in it; use it only inside its block"
            )

    # ── Its end ─────────────────────────────────────────────────────────────────────────────

    async def prepare(self) -> Vote:
        """Vote."""
        try:
            self._begin_end()
            if await self._has_only_read():
                await self._vote("COMMIT", "COMMIT")
                return Vote.READ_ONLY
            vote = f"{self._sql('testify_vote', self.id)}; {self._sql('prepare', self.id)}"
            await self._vote(vote, "PREPARE TRANSACTION")
            return Vote.YES
        finally:
            await self._end()

    def _begin_end(self) -> None:
        self._check_open()
        self._is_ending = True
        if self._failure is not None:
            raise Refused(
                f"{self._name} says no: a statement of branch {self.id} has failed: {self._failure}; "
                "run what may fail in a branch.savepoint()",
                branch=self.id.name,
                transaction_id=self.id.transaction,
            )

    async def _has_only_read(self) -> bool:
        if self._has_written:
            return False
        try:
            return not await self._connection.fetchval(self._sql("has_written", self.id))
        except Exception as error:  # Whatever it was, the branch is not prepared, and is aborted next.
            raise unavailable(self._name, error) from error

    async def _vote(self, sql: str, expected: str) -> None:
        try:
            tag = await answer(self._connection, sql)
        except Exception as error:
            if not is_servers_no(self._connection, error):
                raise unavailable(self._name, error) from error
            raise self._no(error) from error
        if tag != expected:
            # A transaction that has failed answers so, without an error.
            raise Refused(f"{self._name} says no: it answered {tag} to {expected}", branch=self.id.name)

    def _no(self, error: Exception) -> FinalityError:
        if getattr(error, "constraint_name", None) == WITNESS_KEY:
            return Conflict(
                f"branch {self.id} came too late: it was given up, or its id was used; begin a new one",
                transaction_id=self.id.transaction,
            )
        told = meaning(self._name, self._connection, error)
        return told or Refused(f"{self._name} says no: {said(error)}", branch=self.id.name)

    async def commit(self) -> None:
        """Commit in one phase."""
        try:
            self._begin_end()
            witness = "testify" if self._has_written else "testify_if_written"
            try:
                tag = await answer(self._connection, f"{self._sql(witness, self.id)}; COMMIT")
            except Exception as error:
                raise (self._no(error) if self._is_surely_aborted(error) else self._unknown(error)) from error
            if tag != "COMMIT":
                raise Refused(f"{self._name} says no: it answered {tag} to COMMIT", branch=self.id.name)
        finally:
            await self._end()

    def _is_surely_aborted(self, error: Exception) -> bool:
        is_open = not self._connection.is_closed() and self._connection.is_in_transaction()
        return is_open or state_of(error).startswith(SURELY_ABORTED)

    def _unknown(self, error: Exception) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"nobody knows yet whether branch {self.id} has committed: {said(error)}; ask for the "
            "transaction by its id",
            transaction_id=self.id.transaction,
        )

    async def abort(self) -> None:
        """Leave nothing of a branch that is not prepared."""
        if not self._is_ending:
            await self._end()
        elif not self._has_ended:
            # Nobody waits for its vote any more. It is cut, and the participant knows what it came to.
            self._connection.terminate()

    async def _end(self) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        if not self._connection.is_closed() and self._connection.is_in_transaction():
            try:
                await answer(self._connection, "ROLLBACK")
            except Exception:
                # A connection that is cut does the same: nothing that is not prepared outlives its session.
                self._connection.terminate()
        self._connections.give_back(self._connection)


async def begin(connection: Connection, isolation: str, seconds_left: float | None) -> None:
    """Begin a transaction, in one message."""
    sql = f"BEGIN ISOLATION LEVEL {isolation} READ WRITE"
    if seconds_left is not None:
        # What is abandoned, by a node that is paused or gone, is aborted by the server itself.
        # A prepared transaction is exempt from every time-out.
        is_new = connection.get_server_version() >= (17,)
        setting = "transaction_timeout" if is_new else "idle_in_transaction_session_timeout"
        sql += f"; SET LOCAL {setting} = {max(1, int(seconds_left * 1_000))}"
    await answer(connection, sql)
