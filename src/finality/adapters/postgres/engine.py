"""The connection that writes: how the writer begins, commits and aborts on PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from finality.adapters.engine import CommitFailed, Stale
from finality.adapters.postgres.line import Line
from finality.adapters.postgres.pending import Pending
from finality.adapters.postgres.queries import QUERIES
from finality.adapters.postgres.session import ERRORS, said, state_of
from finality.adapters.postgres.transaction import RUN_AGAIN, PostgresTransaction
from finality.core.errors import Conflict, OutcomeUnknown, Unavailable
from finality.ports.environment import Environment

SURELY_ABORTED = ("40", "23", "25P02")  # On COMMIT. Whatever else it answers, it may have happened.
STATEMENT_FAILED = ("2", "4", "P0", *RUN_AGAIN)  # Of a turn, not of the server; nothing of it remains.
RESOLVE_SECONDS_MAX = 60.0  # A restart with its recovery; then whoever waits hears that nobody knows.
RESOLVE_WAIT_SECONDS = 0.02  # Doubled each time, up to a second.


class PostgresEngine:
    """Fulfils ``adapters.engine.Engine``."""

    def __init__(self, line: Line, transaction: PostgresTransaction, environment: Environment) -> None:
        self.transaction: Any = transaction
        self._line = line
        self._environment = environment
        self._id = f"{environment.random_bits(128):032x}"
        self._batch = 0
        self._has_lost = False  # The connection, since the last commit.
        self.keep_turn = transaction.keep_turn

    @property
    def is_stale(self) -> bool:
        """Say whether the turns have to run again."""
        return bool(self.transaction.is_stale)

    def begin(self, *, is_guarded: bool = False) -> None:
        """Be ready for turns; the server hears of them with the first statement."""
        if not self._line.is_sending:
            if self._line.is_open and not self._line.is_clean:
                self._line.cut()
            self._line.connect()
        self._batch += 2  # The number between two of them gives the first one up.
        self.transaction.start((self._id, self._batch))

    def wait(self, seconds: float) -> None:
        """Do nothing: the server lets many write at once."""

    def commit(self) -> Callable[[], None] | None:
        """Send what is pending, sign it and commit; an answer that is lost is asked for."""
        transaction, line = self.transaction, self._line
        try:
            whole = transaction.whole()
            if whole is not None:
                pending, parameters = whole
                line.send(QUERIES["append"], *parameters)
                return partial(self._finish, pending, self._batch, transaction.at)
            transaction.sign()
        except ERRORS as error:
            raise self._failed(error) from error
        if transaction.has_begun:
            try:
                tag = line.tell("COMMIT")
            except ERRORS as error:
                if state_of(error).startswith(SURELY_ABORTED):
                    raise self._failed(error) from error
                if not transaction.has_sent:
                    raise self._line.explain(error) from error
                self._resolve(error, self._batch, transaction.at)
            else:
                if tag != "COMMIT":
                    raise CommitFailed(f"the server answered COMMIT with {tag}")
        return None

    def _finish(self, pending: Pending, batch: int, at: float) -> None:
        """Wait for the end of a transaction that is one statement."""
        try:
            self.transaction.take_keys(self._line.answer())
        except ERRORS as error:
            if self.transaction.is_refused(error, pending):
                raise Stale("streams have moved on") from error
            if self._line.is_open and state_of(error).startswith(STATEMENT_FAILED):
                raise self._failed(error) from error
            self._resolve_whole(error, batch, at)
        self._has_lost = False

    def _resolve_whole(self, error: BaseException, batch: int, at: float) -> None:
        is_first, self._has_lost = not self._has_lost, True
        try:
            self._resolve(error, batch, at)
        except Unavailable:
            if not is_first:
                raise
            # It may have died unnoticed, and another one works.
            raise Stale("the connection was lost") from error

    def _failed(self, error: BaseException) -> Exception:
        """Return what it means that nothing was committed, for sure."""
        if state_of(error).startswith(RUN_AGAIN):
            return Stale(said(error))
        if not self._line.is_open or not state_of(error).startswith(STATEMENT_FAILED):
            return self._line.explain(error)
        failed = CommitFailed(said(error))
        failed.__cause__ = error
        return failed

    def _resolve(self, error: BaseException, batch: int, at: float) -> None:
        """Ask what became of a commit whose answer was lost.

        The signature says it, and not the transaction's number: a server that has crashed gives
        numbers again that it gave before.

        Raises:
            Unavailable: It was aborted.
            OutcomeUnknown: Nobody knows.
        """
        self._line.cut()
        give_up, pause = time.monotonic() + RESOLVE_SECONDS_MAX, RESOLVE_WAIT_SECONDS
        while time.monotonic() < give_up:
            try:
                self._line.connect()
                # It waits while the server, which may not know yet that the line is cut, still commits.
                last = self._line.fetch(QUERIES["last_mark"], self._id, batch, at)[0][0]
            except (*ERRORS, Unavailable):
                time.sleep(pause * (1 + self._environment.chance()))
                pause = min(2 * pause, 1.0)
            else:
                if last == batch:
                    return
                raise self._line.explain(error) from error
        raise OutcomeUnknown(
            f"nobody knows whether it was committed: {said(error)}, and the server cannot be asked; look at "
            "what it wrote"
        ) from error

    def keep_house(self) -> None:
        """Do nothing: the server sees to itself."""

    def abort(self) -> None:
        """Leave nothing of the transaction."""
        try:
            if self._line.is_open and not self._line.is_clean:
                self._line.tell("ROLLBACK")
        except ERRORS:
            self._line.cut()  # Then the server does it.
        self.transaction.lose_all()

    def close(self) -> None:
        """Do nothing: nothing runs beside it."""

    def undo_turn(self) -> bool:
        """Undo what the turn wrote; False when only aborting the transaction can."""
        try:
            return bool(self.transaction.undo_turn())
        except ERRORS:
            return False

    def explain(self, problem: BaseException) -> BaseException:
        """Return *problem*, or what it means to the caller if the server or another is at fault."""
        if isinstance(problem, Stale):  # A scope cannot run again by itself, as turns do.
            return Conflict(f"somebody else was first: {problem}; run it again")
        return self._line.meaning(problem)
