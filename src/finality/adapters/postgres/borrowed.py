"""A branch in a PostgreSQL database on a session of the user's own library.

Each answer to its vote is looked at, since libraries pass over some in silence: a server answers
``ROLLBACK`` to a ``PREPARE TRANSACTION`` that cannot be.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from finality.adapters.borrowed import BorrowingParticipant, original_of
from finality.core.errors import Conflict, FinalityError, OutcomeUnknown, Refused, Unavailable
from finality.core.two_phase import Vote
from finality.ports.environment import Environment
from finality.ports.participant import BranchId, Participant
from finality.ports.store import StatementRefused

log = logging.getLogger("finality.two_phase")

SURELY_ABORTED = ("40", "23", "25P02")  # On COMMIT. Whatever else it answers, it may have happened.
CONFLICTS = ("40", "55P03")
OUT_OF_REACH = ("08", "57P", "58", "XX", "F0")  # The line, the operator, the disk, the server itself.


@dataclass(frozen=True, slots=True)
class VoteStatements:
    """What a branch says to its database at its end.

    Attributes:
        has_written: Asks whether it has written anything.
        prepare: Writes its witness and votes. commit: Likewise, and commits in one phase.
        witness_key: The constraint that a branch which comes too late breaks.
    """

    has_written: str
    prepare: str
    commit: str
    witness_key: str


class Recovery(Participant[Any], Protocol):
    """The participant of the same database."""

    async def vote_statements(self, branch: BranchId) -> VoteStatements:
        """Return what the branch says at its end."""


class Borrowed(Protocol):
    """A session of the user's library, in a transaction of its own.

    Attributes:
        session: What the user works with.
    """

    session: Any

    def is_in_transaction(self) -> bool:
        """Say whether the server still runs the transaction that the branch began in."""

    async def flush(self) -> None:
        """Send what the library still holds back."""

    async def say(self, sql: str) -> str:
        """Run statements of ours on its connection, in one message; return the last one's tag."""

    async def ask(self, sql: str) -> Any:
        """Return the only value of a query of ours."""

    async def give_back(self, *, is_clean: bool) -> None:
        """Undo what is open, and give the connection back; drop it if it may not be clean."""


class BorrowedBranch:
    """Fulfils ``ports.participant.Branch``.

    Attributes:
        session: The library's own. Its commits and rollbacks are those of savepoints: the branch
            ends with the transaction's block.
    """

    def __init__(self, id: BranchId, borrowed: Borrowed, statements: VoteStatements) -> None:
        self.id = id
        self.session = borrowed.session
        self._borrowed = borrowed
        self._statements = statements
        self._has_ended = False

    async def prepare(self) -> Vote:
        """Vote."""
        vote: Vote = await self._ending(self._prepare)
        return vote

    async def commit(self) -> None:
        """Commit in one phase."""
        await self._ending(self._commit)

    async def abort(self) -> None:
        """Leave nothing of a branch that is not prepared."""
        if not self._has_ended:
            self._has_ended = True
            await self._give_back(is_clean=True)

    async def _ending(self, end: Callable[[], Awaitable[Any]]) -> Any:
        if self._has_ended:
            raise StatementRefused(f"branch {self.id} has ended, so nothing more can be asked of it")
        self._has_ended = True
        is_clean = False
        try:
            answer = await end()
            is_clean = True
        except TransactionEnded as ended:
            raise ended.error from ended.__cause__
        finally:
            await self._give_back(is_clean=is_clean)
        return answer

    async def _give_back(self, *, is_clean: bool) -> None:
        try:
            await self._borrowed.give_back(is_clean=is_clean)
        except Exception as error:  # A line that is cut does the same: what is not prepared is gone.
            log.debug("branch %s could not give its session back: %s", self.id, error)

    async def _prepare(self) -> Vote:
        if not await self._has_written():
            return Vote.READ_ONLY
        await self._last(self._statements.prepare, "PREPARE TRANSACTION")
        return Vote.YES

    async def _commit(self) -> None:
        if await self._has_written():
            await self._last(self._statements.commit, "COMMIT")

    async def _has_written(self) -> bool:
        try:
            await self._borrowed.flush()
            if not self._borrowed.is_in_transaction():
                raise TransactionEnded(self._no("a statement has ended the branch's transaction"))
            return bool(await self._borrowed.ask(self._statements.has_written))
        except TransactionEnded:
            raise
        except Exception as error:
            raise TransactionEnded(self._meaning(error)) from error

    async def _last(self, sql: str, expected: str) -> None:
        """Write the witness and end the transaction, in one message."""
        try:
            tag = await self._borrowed.say(sql)
        except Exception as error:
            is_prepare = expected != "COMMIT"
            is_open = self._borrowed.is_in_transaction()
            if is_prepare or is_open or state_of(error).startswith(SURELY_ABORTED):
                raise TransactionEnded(self._meaning(error)) from error
            raise TransactionEnded(self._unknown(error)) from error
        if tag != expected:
            # A transaction that has failed answers so, without an error.
            raise TransactionEnded(self._no(f"it answered {tag} to {expected}"))

    def _meaning(self, error: Exception) -> FinalityError:
        """Return what an error before the end means: nothing of the branch remains."""
        state = state_of(error)
        if self._statements.witness_key in str(error):
            return Conflict(
                f"branch {self.id} came too late: it was given up, or its id was used; begin a new one",
                transaction_id=self.id.transaction,
            )
        if state.startswith(CONFLICTS):
            return Conflict(
                f"somebody else was first at {self.id.participant}: {said(error)}; run the transaction again",
                transaction_id=self.id.transaction,
            )
        if not state or state.startswith(OUT_OF_REACH):
            return self._unreachable(error)
        return self._no(said(error))

    def _no(self, why: str) -> Refused:
        return Refused(
            f"{self.id.participant} says no: {why}", branch=self.id.name, transaction_id=self.id.transaction
        )

    def _unreachable(self, error: Exception) -> Unavailable:
        return Unavailable(
            f"participant {self.id.participant} is unavailable: {said(error)}; see that its server runs and "
            "can be reached"
        )

    def _unknown(self, error: Exception) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"nobody knows yet whether branch {self.id} has committed: {said(error)}; ask for the "
            "transaction by its id",
            transaction_id=self.id.transaction,
        )


def begin_sql(lock_seconds: float, seconds_left: float | None) -> str:
    """Return the first statement of a branch.

    Args:
        lock_seconds: To wait for another transaction's lock: no server sees a deadlock that goes
            through two of them.
        seconds_left: Until the server itself aborts a branch that was abandoned; None for never.
    """
    settings = [f"set_config('lock_timeout', '{int(lock_seconds * 1_000)}', true)"]
    if seconds_left is not None:
        is_new = "current_setting('server_version_num')::integer >= 170000"
        old, new = "'idle_in_transaction_session_timeout'", "'transaction_timeout'"
        name = f"CASE WHEN {is_new} THEN {new} ELSE {old} END"
        settings.append(f"set_config({name}, '{max(1, int(seconds_left * 1_000))}', true)")
    return f"SELECT {', '.join(settings)}"


class TransactionEnded(Exception):
    """The branch's transaction has ended, or may have; carries what the caller shall hear."""

    def __init__(self, error: FinalityError) -> None:
        super().__init__(str(error))
        self.error = error


Borrow = Callable[[Environment, str], Awaitable[Borrowed]]
"""Begins a transaction, with a first statement, on a session of its own."""


class PostgresSessions(BorrowingParticipant):
    """Fulfils ``ports.participant.Participant`` with sessions of the user's library."""

    def __init__(self, recovery: Recovery, lock_seconds: float, borrow: Borrow) -> None:
        super().__init__(recovery)
        self._vote_statements = recovery.vote_statements
        self._lock_seconds = lock_seconds
        self._borrow = borrow

    async def _begin(self, branch: BranchId, deadline: float | None) -> BorrowedBranch:
        statements = await self._vote_statements(branch)
        try:
            left = None if deadline is None else deadline - self._environment.now()
            borrowed = await self._borrow(self._environment, begin_sql(self._lock_seconds, left))
        except Exception as error:
            raise Unavailable(
                f"participant {self.name} is unavailable: {said(error)}; see that its server runs and can be "
                "reached"
            ) from error
        return BorrowedBranch(branch, borrowed, statements)


def state_of(error: BaseException) -> str:
    """Return the SQLSTATE of the driver's error, which a library may have wrapped; empty if there is none."""
    original = original_of(error)
    for each in (original, original.__cause__):
        state = getattr(each, "sqlstate", None)
        if state:
            return str(state)
    return ""


def said(error: BaseException) -> str:
    """Return the error's own words, on one line."""
    original = original_of(error)
    return " ".join(str(original).split()) or type(original).__name__
