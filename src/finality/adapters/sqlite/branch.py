"""A branch of a transaction in a SQLite file, as the transaction's block holds it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

from finality.adapters.sqlite.file import SqliteFile
from finality.adapters.sqlite.work import Before
from finality.core.two_phase import Vote
from finality.ports.participant import BranchId
from finality.ports.store import Rows, StatementRefused

T = TypeVar("T")


class Seat(Protocol):
    """What a branch has of its participant while it works: the thread, and the file for itself."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""

    def run(self, do: Callable[[SqliteFile], T]) -> Awaitable[T]:
        """Do something on the participant's thread, after what was asked before."""

    def stop(self) -> None:
        """Break off the statement that runs, or is about to."""

    def leave(self, branch: BranchId) -> None:
        """Let the next branch begin."""


class SqliteBranch:
    """Fulfils ``ports.participant.StatementBranch``."""

    def __init__(self, id: BranchId, seat: Seat) -> None:
        self.id = id
        self._seat = seat
        self._is_over = False
        self._savepoints = 0

    async def execute(self, sql: str, *parameters: Any) -> Rows:
        """Run one statement with ``?``, or ``$1``, ``$2``, …, for the parameters; return its rows."""
        self._check_open()
        return await self._seat.run(lambda file: file.work.execute(self.id, sql, parameters))

    async def write_ours(self, sql: str, parameters: Sequence[Any]) -> int:
        """Write a table of Finality's in the branch, for ``join_async``; return how many rows that are."""
        self._check_open()
        return await self._seat.run(lambda file: file.work.write_ours(self.id, sql, parameters))

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo what its block did, and nothing else, if the block raises."""
        self._check_open()
        number = self._savepoints
        before = await self._seat.run(lambda file: file.work.enter_savepoint(number))
        self._savepoints += 1
        back_to: Before | None = None
        try:
            yield
        except BaseException:
            back_to = before
            raise
        finally:
            self._savepoints -= 1
            if not self._is_over:
                await self._seat.run(lambda file: file.work.leave_savepoint(number, back_to=back_to))

    def _check_open(self) -> None:
        if self._is_over:
            raise StatementRefused(
                f"branch {self.id} has ended, so nothing more can run in it; use it only inside its block"
            )

    async def prepare(self) -> Vote:
        """Vote."""
        return await self._end(lambda file: file.work.prepare(self.id, self._seat.now()))

    async def commit(self) -> None:
        """Commit in one phase."""
        await self._end(lambda file: file.work.commit(self.id, self._seat.now()))

    async def abort(self) -> None:
        """Leave nothing of it."""
        if not self._is_over:
            self._seat.stop()
            await self._end(lambda file: file.work.abort())

    async def _end(self, do: Callable[[SqliteFile], T]) -> T:
        self._check_open()
        self._is_over = True
        try:
            return await self._seat.run(do)
        finally:
            # Also when the caller is cancelled: the thread ends this branch before it begins another.
            self._seat.leave(self.id)
