"""A branch at a database server, on a session of its own: what XA and PREPARE TRANSACTION share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from finality.core.errors import Conflict, FinalityError, OutcomeUnknown, Refused
from finality.core.two_phase import Vote
from finality.ports.participant import BranchId
from finality.ports.store import StatementRefused

T = TypeVar("T")


class ServerBranch(ABC):
    """Fulfils ``ports.participant.StatementBranch`` but for ``execute``, around what a driver does.

    Attributes:
        savepoint_words: What one calls to undo a part of it alone.
    """

    savepoint_words = "branch.savepoint()"

    def __init__(self, id: BranchId) -> None:
        self.id = id
        self._name = id.participant
        self._has_written = False
        self._savepoints = 0
        self._failure: str | None = None
        self._is_ending = self._has_ended = False

    # What differs: whether the session has gone, how it is told several statements in one message, how it is
    # cut, and how it is undone and given back.

    @property
    @abstractmethod
    def _is_lost(self) -> bool: ...
    @abstractmethod
    async def _tell(self, *statements: str) -> None: ...
    @abstractmethod
    def _cut(self) -> None: ...
    @abstractmethod
    async def _let_go(self) -> None: ...

    async def _flush(self) -> None:
        """Send what is held back, as a library's session may do."""
        return

    # How it votes, or ends if it has only read, and how it commits in one phase.

    @abstractmethod
    async def _prepare(self) -> Vote: ...
    @abstractmethod
    async def _commit(self) -> None: ...

    # What an error says in the server's words, what it means to whoever wants to know whether to try again,
    # and whether it is that the branch's witness was there already.

    @abstractmethod
    def _said(self, error: BaseException) -> str: ...
    @abstractmethod
    def _meaning(self, error: BaseException) -> FinalityError | None: ...
    @abstractmethod
    def _is_late(self, error: BaseException) -> bool: ...

    # ── Work ────────────────────────────────────────────────────────────────────────────────

    def _fail(self, error: BaseException) -> None:
        """Remember that a statement has failed: the server might let the rest commit without it.

        Raises:
            FinalityError: It is what the error means to whoever wants to know whether to try again.
        """
        if isinstance(error, StatementRefused):
            return  # It was not run.
        self._failure = self._said(error)
        told = self._meaning(error)
        if told is not None and told is not error and isinstance(error, Exception):
            raise told from error

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo what its block did, and nothing else, if the block raises."""
        self._check_open()
        name = f"finality_{self._savepoints}"
        try:
            await self._tell(f"SAVEPOINT {name}")
        except BaseException as error:
            self._fail(error)
            raise
        self._savepoints += 1
        before = self._failure
        try:
            yield
        except BaseException:
            if not self._has_ended and not self._is_lost:
                await self._tell(f"ROLLBACK TO SAVEPOINT {name}", f"RELEASE SAVEPOINT {name}")
                self._failure = before
            raise
        else:
            if not self._failure and not self._has_ended:
                await self._tell(f"RELEASE SAVEPOINT {name}")
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
        return await self._ending(self._prepare)

    async def commit(self) -> None:
        """Commit in one phase."""
        await self._ending(self._commit)

    async def abort(self) -> None:
        """Leave nothing of a branch that is not prepared."""
        if not self._is_ending:
            await self._end()
        elif not self._has_ended:
            # Nobody waits for its vote any more. It is cut, and the participant knows what it came to.
            self._cut()

    async def _ending(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            self._check_open()
            self._is_ending = True
            await self._flush()
            if self._failure is not None:
                raise Refused(
                    f"{self._name} says no: a statement of branch {self.id} has failed: {self._failure}; "
                    f"run what may fail in a {self.savepoint_words}",
                    branch=self.id.name,
                    transaction_id=self.id.transaction,
                )
            return await work()
        finally:
            await self._end()

    async def _end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            await self._let_go()

    def _no(self, error: BaseException) -> FinalityError:
        if self._is_late(error):
            return Conflict(
                f"branch {self.id} came too late: it was given up, or its id was used; begin a new one",
                transaction_id=self.id.transaction,
            )
        told = self._meaning(error)
        return told or Refused(f"{self._name} says no: {self._said(error)}", branch=self.id.name)

    def _unknown(self, error: BaseException) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"nobody knows yet whether branch {self.id} has committed: {self._said(error)}; ask for the "
            "transaction by its id",
            transaction_id=self.id.transaction,
        )
