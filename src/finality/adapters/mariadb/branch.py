"""A branch in a MariaDB database: XA START, the user's statements, XA END, XA PREPARE."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Protocol

from finality.adapters.mariadb.catalog import Catalog, Known
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
from finality.adapters.server_branch import ServerBranch
from finality.core.errors import Conflict, FinalityError
from finality.core.two_phase import Vote
from finality.ports.participant import BranchId
from finality.ports.store import Rows

WITNESS_KEY = "finality_branch"


class Keeper(Protocol):
    """Where a branch's session comes from, and goes to.

    Attributes:
        catalog: What the names in its statements stand for.
    """

    catalog: Catalog

    def sql(self, name: str, branch: BranchId) -> str:
        """Return one of our statements for *branch*."""

    def hold(self, branch: BranchId, session: Session) -> None:
        """Keep the session of a prepared branch: only it can finish the branch while it is open."""

    def give_back(self, session: Session) -> None:
        """Take back a session that nothing is open on; others are dropped."""


def exists_already(branch: BranchId) -> Conflict:
    """Return that a branch of this id is prepared."""
    return Conflict(
        f"branch {branch} is in doubt already: its id was used before; begin a new one",
        transaction_id=branch.transaction,
    )


class XaBranch(ServerBranch):
    """How a branch ends, whoever sends its statements."""

    def __init__(self, id: BranchId, session: Session, keeper: Keeper) -> None:
        super().__init__(id)
        self._session = session
        self._keeper = keeper

    def _checked(self, sql: str) -> Statement:
        self._check_open()
        statement = statement_of(sql)
        if statement.refusal:
            raise refuse(sql, statement.refusal)
        return statement

    @abstractmethod
    async def _leave_prepared(self) -> None:
        """Do with the session of a branch that is prepared what lets others finish it."""

    async def _prepare(self) -> Vote:
        if not self._has_written:
            await self._vote("end", "commit_alone")
            return Vote.READ_ONLY
        await self._vote("testify_vote", "mark", "end", "prepare")
        self._has_ended = True
        await self._leave_prepared()
        return Vote.YES

    async def _vote(self, *names: str) -> None:
        try:
            await self._say(*names)
        except ERRORS as error:
            if self._is_lost:
                raise unavailable(self._name, error) from error
            raise self._no(error) from error

    async def _commit(self) -> None:
        names = ("testify", "end", "commit_alone") if self._has_written else ("end", "commit_alone")
        try:
            await self._say(*names)
        except ERRORS as error:
            # The last command is the commit. It was not reached if another one has failed.
            is_reached = self._is_lost or self._session.done == len(names) - 1
            if is_reached and number_of(error) not in ROLLED_BACK:
                raise self._unknown(error) from error
            raise self._no(error) from error

    async def _say(self, *names: str) -> None:
        await self._tell(*(self._keeper.sql(name, self.id) for name in names))

    async def _undo(self) -> None:
        for name in ("end", "abort_prepared"):
            try:
                await self._say(name)
            except ERRORS:
                # A branch that has failed has no work to end. What cannot be undone here ends with its
                # session, which is not clean and so will be dropped.
                continue

    # ── The session ─────────────────────────────────────────────────────────────────────────

    @property
    def _is_lost(self) -> bool:
        return self._session.is_lost

    async def _tell(self, *statements: str) -> None:
        await self._session.say(*statements)

    def _cut(self) -> None:
        self._session.drop()

    def _said(self, error: BaseException) -> str:
        return said(error)

    def _meaning(self, error: BaseException) -> FinalityError | None:
        return meaning(self._name, self._session, error)

    def _is_late(self, error: BaseException) -> bool:
        return self._session.done == 0 and WITNESS_KEY in str(error)


class MariaDbBranch(XaBranch):
    """Fulfils ``ports.participant.StatementBranch``.

    Attributes:
        session: What the server calls its connection, in ``SHOW PROCESSLIST``.
    """

    def __init__(self, id: BranchId, session: Session, keeper: Keeper) -> None:
        super().__init__(id, session, keeper)
        self.session = session.thread

    async def execute(self, sql: str, *parameters: Any) -> Rows:
        """Run one statement with ``?`` for each of *parameters*; return its rows.

        Raises:
            StatementRefused: It would end the branch, or XA does not take it back; it had no effect.
            Refused: It breaks a constraint. Conflict: somebody else was first.
            Unavailable: The server is out of reach.
            Exception: What is wrong with the statement itself, as the driver tells it.
        """
        statement = self._checked(sql)
        try:
            known = self._keeper.catalog.known(statement) or await self._learned(statement)
            if not known.surely_reads():
                self._has_written = True
            return Rows(await self._session.run(sql, parameters))
        except BaseException as error:
            self._fail(error)
            raise

    async def _learned(self, statement: Statement) -> Known:
        catalog = self._keeper.catalog
        [found] = await self._session.say(catalog.question(statement))
        return catalog.learn(statement, found)

    async def _leave_prepared(self) -> None:
        self._keeper.hold(self.id, self._session)

    async def _let_go(self) -> None:
        try:
            if not self._session.is_clean:
                await self._undo()
        except BaseException:
            self._cut()  # Somebody has no time to wait for its answer, which the next one would hear.
            raise
        finally:
            self._keeper.give_back(self._session)
