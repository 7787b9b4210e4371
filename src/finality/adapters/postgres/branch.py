"""A branch in a PostgreSQL database: BEGIN, the user's statements, PREPARE TRANSACTION.

It begins with its first statement, in the same message: one that does nothing costs nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from finality.adapters.connections import Connections
from finality.adapters.postgres.ahead import send_ahead
from finality.adapters.postgres.session import (
    ERRORS,
    Connection,
    Server,
    is_servers_no,
    meaning,
    said,
    state_of,
    unavailable,
)
from finality.adapters.postgres.statement import refuse, statement_of
from finality.adapters.server_branch import ServerBranch
from finality.core.errors import FinalityError, Refused
from finality.core.two_phase import Vote
from finality.ports.participant import BranchId
from finality.ports.store import Rows

SURELY_ABORTED = ("40", "23", "25P02")  # On COMMIT. Whatever else it answers, it may have happened.
WITNESS_KEY = "finality_branch_pkey"
MILLISECONDS_MAX = 2**31 - 1  # Of the server's time-outs: 24 days, though a deadline may be later.

T = TypeVar("T")


class PostgresBranch(ServerBranch):
    """Fulfils ``ports.participant.StatementBranch``."""

    def __init__(
        self,
        id: BranchId,
        connection: Connection,
        connections: Connections[Connection],
        server: Server,
        sql: Callable[[str, BranchId], str],
        opening: Callable[[Connection], Sequence[str]],
    ) -> None:
        super().__init__(id)
        self._connection = connection
        self._connections = connections
        self._answer = server.answer
        self._sql = sql
        self._opening = opening
        self._is_open = False  # It was asked to begin, and has not answered that it has ended.

    @property
    def session(self) -> int:
        """Return the server's process that runs it, as ``pg_stat_activity`` calls it."""
        return int(self._connection.get_server_pid())

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
        try:
            return Rows(map(tuple, await self._run(lambda line: line.fetch(sql, *parameters))))
        except BaseException as error:
            self._fail(error)
            raise

    async def write_ours(self, sql: str, parameters: Sequence[Any]) -> int:
        """Write a table of Finality's in the branch, for ``join_async``; return how many rows that are."""
        self._check_open()
        self._has_written = True
        try:
            tag: str = await self._run(lambda line: line.execute(sql, *parameters))
        except BaseException as error:
            self._fail(error)
            raise
        return int(tag.rpartition(" ")[2])

    async def _run(self, statement: Callable[[Connection], Awaitable[T]]) -> T:
        """Run a statement, behind the branch's beginning if it is the first one."""
        if self._is_open:
            return await statement(self._connection)

        def behind_it(line: Connection) -> Awaitable[T]:
            send_ahead(line, *self._opening(line))
            return statement(line)

        return await self._begin(behind_it)

    async def _begin(self, first: Callable[[Connection], Awaitable[T]]) -> T:
        """Run what begins the branch, and once more on another line if this one leads nowhere."""
        for is_last in (False, True):
            self._is_open = True
            try:
                told = await first(self._connection)
            except ERRORS as error:
                # Only an error that the server sent has a severity.
                if getattr(error, "severity", None) and not self._is_in_transaction:
                    # A standby refuses to begin. What came next would run by itself, and not be undone.
                    self._cut()
                if is_last or not self._is_lost:
                    raise
            else:
                assert self._is_in_transaction, f"branch {self.id} has run a statement and not begun"
                return told
            self._check_open()  # The branch's end may have cut it.
            # It may have died unnoticed. Its server has undone what it heard, or another one will begin.
            self._connection = await self._connections.renewed(self._connection)
        raise AssertionError("the second line has answered or raised")

    async def _prepare(self) -> Vote:
        if not self._is_open:
            return Vote.READ_ONLY
        if await self._has_only_read():
            await self._vote("COMMIT", "COMMIT")
            return Vote.READ_ONLY
        await self._vote(self._sql("vote", self.id), "PREPARE TRANSACTION")
        return Vote.YES

    async def _has_only_read(self) -> bool:
        if self._has_written:
            return False
        try:
            return not await self._connection.fetchval(self._sql("has_written", self.id))
        except Exception as error:  # Whatever it was, the branch is not prepared, and is aborted next.
            raise unavailable(self._name, error) from error

    async def _vote(self, sql: str, expected: str) -> None:
        try:
            tag = await self._answer(self._connection, sql)
        except Exception as error:
            if not is_servers_no(self._connection, error):
                raise unavailable(self._name, error) from error
            raise self._no(error) from error
        if tag != expected:
            # A transaction that has failed answers so, without an error.
            raise Refused(f"{self._name} says no: it answered {tag} to {expected}", branch=self.id.name)
        self._is_open = False

    async def _commit(self) -> None:
        if not self._is_open:
            return
        try:
            tag = await self._answer(
                self._connection, self._sql("commit" if self._has_written else "commit_if_written", self.id)
            )
        except Exception as error:
            raise (self._no(error) if self._is_surely_aborted(error) else self._unknown(error)) from error
        if tag != "COMMIT":
            raise Refused(f"{self._name} says no: it answered {tag} to COMMIT", branch=self.id.name)
        self._is_open = False

    def _is_surely_aborted(self, error: Exception) -> bool:
        return self._is_in_transaction or state_of(error).startswith(SURELY_ABORTED)

    async def _let_go(self) -> None:
        try:
            if self._is_open and not self._is_lost:
                with contextlib.suppress(Exception):
                    await self._answer(self._connection, "ROLLBACK")
                    self._is_open = False
        finally:
            if self._is_open:
                # A connection that is cut does the same: nothing that is not prepared outlives its session.
                self._cut()
            self._connections.give_back(self._connection)

    # ── The connection ──────────────────────────────────────────────────────────────────────

    @property
    def _is_lost(self) -> bool:
        return bool(self._connection.is_closed())

    @property
    def _is_in_transaction(self) -> bool:
        return not self._is_lost and bool(self._connection.is_in_transaction())

    async def _tell(self, *statements: str) -> None:
        if self._is_open:
            await self._connection.execute("; ".join(statements))
        else:
            # One query: behind a beginning that was sent ahead and is refused, it would get no answer.
            await self._begin(lambda line: line.execute("; ".join((*self._opening(line), *statements))))

    def _cut(self) -> None:
        self._connection.terminate()

    def _said(self, error: BaseException) -> str:
        return said(error)

    def _meaning(self, error: BaseException) -> FinalityError | None:
        if isinstance(error, FinalityError):
            return error  # No connection could be had for its first statement.
        return meaning(self._name, self._connection, error)

    def _is_late(self, error: BaseException) -> bool:
        return getattr(error, "constraint_name", None) == WITNESS_KEY


def opening(isolation: str, seconds_left: float | None, version: tuple[int, ...]) -> Sequence[str]:
    """Return what begins a transaction, on a server of that *version*."""
    begin = f"BEGIN ISOLATION LEVEL {isolation} READ WRITE"
    if seconds_left is None:
        return (begin,)
    # What is abandoned, by a node that is paused or gone, is aborted by the server itself.
    # A prepared transaction is exempt from every time-out.
    setting = "transaction_timeout" if version >= (17,) else "idle_in_transaction_session_timeout"
    milliseconds = min(max(1, int(seconds_left * 1_000)), MILLISECONDS_MAX)
    return begin, f"SET LOCAL {setting} = {milliseconds}"
