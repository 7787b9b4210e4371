"""A branch in a MariaDB database: XA START, the user's statements, XA END, XA PREPARE."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol

from finality.adapters.mariadb.session import (
    ERRORS,
    ROLLED_BACK,
    Session,
    meaning,
    number_of,
    said,
    unavailable,
)
from finality.adapters.mariadb.statement import Statement, refuse, statement_of
from finality.core.errors import Conflict, FinalityError, OutcomeUnknown, Refused
from finality.core.two_phase import Vote
from finality.ports.participant import BranchId
from finality.ports.store import Rows, StatementRefused

WITNESS_KEY = "finality_branch"


class Keeper(Protocol):
    """Where a branch's session comes from, and goes to."""

    def sql(self, name: str, branch: BranchId) -> str:
        """Return one of our statements for *branch*."""

    async def reads(self, session: Session, statement: Statement) -> bool:
        """Say whether a statement surely writes nothing; raise if it writes what XA does not take back."""

    def hold(self, branch: BranchId, session: Session) -> None:
        """Keep the session of a prepared branch: only it can finish the branch while it is open."""

    def give_back(self, session: Session) -> None:
        """Take back a session that nothing is open on; others are dropped."""


class MariaDbBranch:
    """Fulfils ``ports.participant.StatementBranch``.

    Attributes:
        session: What the server calls its connection, in ``SHOW PROCESSLIST``.
    """

    def __init__(self, id: BranchId, session: Session, keeper: Keeper) -> None:
        self.id = id
        self.session = session.thread
        self._session = session
        self._keeper = keeper
        self._name = id.participant
        self._has_written = False
        self._savepoints = 0
        self._failure: str | None = None
        self._is_ending = self._has_ended = False

    # ── Work ────────────────────────────────────────────────────────────────────────────────

    async def execute(self, sql: str, *parameters: Any) -> Rows:
        """Run one statement with ``?`` for each of *parameters*; return its rows.

        Raises:
            StatementRefused: It would end the branch, or XA does not take it back; it had no effect.
            Refused: It breaks a constraint. Conflict: somebody else was first.
            Unavailable: The server is out of reach.
            Exception: What is wrong with the statement itself, as the driver tells it.
        """
        self._check_open()
        statement = statement_of(sql)
        if statement.refusal:
            raise refuse(sql, statement.refusal)
        try:
            if not await self._keeper.reads(self._session, statement):
                self._has_written = True
            return Rows(await self._session.run(sql, parameters))
        except StatementRefused:
            raise
        except BaseException as error:
            # The server would let the rest of the branch commit without it.
            self._failure = said(error)
            told = meaning(self._name, self._session, error)
            if told is None or not isinstance(error, Exception):
                raise
            raise told from error

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Undo what its block did, and nothing else, if the block raises."""
        self._check_open()
        name = f"finality_{self._savepoints}"
        await self._session.say(f"SAVEPOINT {name}")
        self._savepoints += 1
        before = self._failure
        try:
            yield
        except BaseException:
            if not self._has_ended and not self._session.is_lost:
                await self._session.say(f"ROLLBACK TO SAVEPOINT {name}", f"RELEASE SAVEPOINT {name}")
                self._failure = before
            raise
        else:
            if not self._failure and not self._has_ended:
                await self._session.say(f"RELEASE SAVEPOINT {name}")
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
        vote: Vote = await self._ending(self._prepare)
        return vote

    async def commit(self) -> None:
        """Commit in one phase."""
        await self._ending(self._commit)

    async def abort(self) -> None:
        """Leave nothing of a branch that is not prepared."""
        if not self._is_ending:
            await self._end()
        elif not self._has_ended:
            # Nobody waits for its vote any more. It is cut, and the participant knows what it came to.
            self._session.drop()

    async def _ending(self, work: Callable[[], Awaitable[Any]]) -> Any:
        try:
            self._check_open()
            self._is_ending = True
            if self._failure is not None:
                raise Refused(
                    f"{self._name} says no: a statement of branch {self.id} has failed: {self._failure}; "
                    "run what may fail in a branch.savepoint()",
                    branch=self.id.name,
                    transaction_id=self.id.transaction,
                )
            return await work()
        finally:
            await self._end()

    async def _prepare(self) -> Vote:
        if not self._has_written:
            await self._vote("end", "commit_alone")
            return Vote.READ_ONLY
        await self._vote("testify_vote", "mark", "end", "prepare")
        self._has_ended = True
        self._keeper.hold(self.id, self._session)
        return Vote.YES

    async def _vote(self, *names: str) -> None:
        try:
            await self._say(*names)
        except ERRORS as error:
            if self._session.is_lost:
                raise unavailable(self._name, error) from error
            raise self._no(error) from error

    async def _commit(self) -> None:
        names = ("testify", "end", "commit_alone") if self._has_written else ("end", "commit_alone")
        try:
            await self._say(*names)
        except ERRORS as error:
            # The last command is the commit. It was not reached if another one has failed.
            is_reached = self._session.is_lost or self._session.done == len(names) - 1
            if is_reached and number_of(error) not in ROLLED_BACK:
                raise self._unknown(error) from error
            raise self._no(error) from error

    async def _say(self, *names: str) -> None:
        await self._session.say(*(self._keeper.sql(name, self.id) for name in names))

    def _no(self, error: BaseException) -> FinalityError:
        if self._session.done == 0 and WITNESS_KEY in str(error):
            return Conflict(
                f"branch {self.id} came too late: it was given up, or its id was used; begin a new one",
                transaction_id=self.id.transaction,
            )
        told = meaning(self._name, self._session, error)
        return told or Refused(f"{self._name} says no: {said(error)}", branch=self.id.name)

    def _unknown(self, error: BaseException) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"nobody knows yet whether branch {self.id} has committed: {said(error)}; ask for the "
            "transaction by its id",
            transaction_id=self.id.transaction,
        )

    async def _end(self) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        if not self._session.is_clean:
            await self._undo()
        self._keeper.give_back(self._session)

    async def _undo(self) -> None:
        for name in ("end", "abort_prepared"):
            try:
                await self._say(name)
            except ERRORS:
                # A branch that has failed has no work to end. What cannot be undone here ends with its
                # session, which is not clean and so will be dropped.
                continue
