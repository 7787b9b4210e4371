"""What a turn can do in a SQLite store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from typing import Any, NoReturn

import apsw

from finality.adapters.sqlite.connection import READ_BUSY_MILLISECONDS
from finality.adapters.sqlite.events import SqliteEventTransaction
from finality.adapters.sqlite.guard import Guard
from finality.adapters.sqlite.keep_out import check_kept_out
from finality.adapters.sqlite.queries import QUERIES
from finality.core.errors import TransactionAborted
from finality.core.ids import TransactionId, uuid7
from finality.ports.environment import Environment
from finality.ports.store import Hold, Rows

ROWS_AT_ONCE = 25  # A row costs half as much as by itself; more of them gain nothing.


class TurnLost(TransactionAborted):
    """The turn cannot go on: only aborting the transaction that it shares undoes it."""

    code = "turn_lost"


class SqliteTransaction(SqliteEventTransaction):
    """Fulfils ``ports.store.LocalTransaction`` on the writer's connection.

    A savepoint is opened at the first thing that may have to be undone, so that a turn which
    only appends to the journal pays for none.
    """

    def __init__(self, connection: apsw.Connection, environment: Environment) -> None:
        self.at = 0.0
        self._connection = connection
        # One cursor for all statements: to make one costs as much as a small statement does. Whoever
        # reads through it reads to the end, so that no statement is open when a turn or a commit ends.
        cursor = connection.cursor()
        self._execute = cursor.execute
        self._execute_many = cursor.executemany
        self._sql: Callable[..., Any] = self._execute
        self._environment = environment
        self._is_guarded = False
        self._has_written = False
        self._is_single = False
        self._is_lost = False
        self._guarded = Guard(connection)

    # ── How the engine begins and ends a turn ───────────────────────────────────────────────

    def start(self, *, is_guarded: bool = False) -> None:
        """Begin the transaction that the turns share, or that one turn has for itself."""
        self.at = self._environment.now()
        self._sql = self._execute
        self._is_guarded = self._has_written = self._is_lost = False
        self._is_single = is_guarded
        if is_guarded:
            self._guard()

    def lose_all(self) -> None:
        """Hear that the whole transaction was aborted."""

    def keep_turn(self) -> None:
        """Keep what the turn wrote."""
        if self._is_guarded:
            self._sql("RELEASE finality_turn")
            self._is_guarded = False
        self._has_written = False

    def undo_turn(self) -> bool:
        """Undo what the turn wrote; False when that takes aborting the whole transaction."""
        if self._is_lost or not self._connection.in_transaction:
            return False
        if self._has_written and not self._is_guarded:
            return False
        if self._is_guarded:
            self._sql("ROLLBACK TO finality_turn")
            self._sql("RELEASE finality_turn")
            self._is_guarded = False
        self._has_written = False
        return True

    def _guard(self) -> None:
        if not self._is_guarded and not self._has_written:
            self._sql("SAVEPOINT finality_turn")
            self._is_guarded = True

    # ── The port ────────────────────────────────────────────────────────────────────────────

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Rows:
        """Run one statement of the user's own."""
        if not self._is_guarded:
            self._guard()
        try:
            return self._guarded.execute(self._sql, sql, parameters)
        except Exception as error:
            # A statement may abort the whole transaction (ON CONFLICT ROLLBACK, a full disk). What
            # came after it would be committed by itself, without the turn, if it could still run.
            if not self._connection.in_transaction:
                self._lose()
            check_kept_out(self._connection, error)
            raise

    def undo(self) -> None:
        """Take back all that this turn has written so far."""
        if not self._is_guarded and not self._has_written:
            return  # Nothing, so nothing has been lost either.
        if self.undo_turn():
            if self._is_single:
                self._guard()
        elif self._is_single and not self._connection.in_transaction:
            self._begin_anew()
        else:
            self._lose()
            self._sql()

    def _begin_anew(self) -> None:
        """Begin again after a statement has aborted the transaction that was this turn's alone."""
        self._connection.set_busy_timeout(READ_BUSY_MILLISECONDS)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        finally:
            self._connection.set_busy_timeout(0)
        self.lose_all()
        self.start(is_guarded=True)

    def _lose(self) -> None:
        self._is_lost = self._is_guarded = True
        self._sql = _refuse_lost

    def witness(self, transaction: TransactionId, branch: str, operation: str) -> str | None:
        """Return what the branch's operation answered here."""
        row = self._row("witness", (transaction, branch, operation))
        return str(row[0]) if row else None

    def testify(self, transaction: TransactionId, branch: str, operation: str, answer: str) -> None:
        """Record what the branch's operation answered here."""
        self._guard()
        self._sql(QUERIES["testify"], (transaction, branch, operation, answer, self.at))

    def retract(self, transaction: TransactionId, branch: str, operation: str) -> None:
        """Take back what the branch testified."""
        self._guard()
        self._sql(QUERIES["retract"], (transaction, branch, operation))

    def holds(self) -> list[Hold]:
        """Return what waits for a decision."""
        return [Hold(*row) for row in self._sql(QUERIES["holds"]).fetchall()]

    def new_id(self) -> str:
        """Return an id that nothing else has, later ones behind earlier ones."""
        return uuid7(int(self.at * 1000), self._environment.random_bits(74))

    def many(self, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Run one of our insertions for each of *rows*."""
        if self._is_lost:
            self._sql()
        by_one = len(rows) % ROWS_AT_ONCE
        if by_one:
            self._execute_many(sql, rows[:by_one])
        if by_one < len(rows):
            places = range(by_one, len(rows), ROWS_AT_ONCE)
            together = (tuple(chain.from_iterable(rows[place : place + ROWS_AT_ONCE])) for place in places)
            self._execute_many(_of_several_rows(sql), together)

    def _row(self, name: str, parameters: tuple[Any, ...]) -> tuple[Any, ...] | None:
        rows: list[tuple[Any, ...]] = self._sql(QUERIES[name], parameters).fetchall()
        return rows[0] if rows else None


@cache
def _of_several_rows(sql: str) -> str:
    """Return an insertion of one row, ``INSERT … VALUES (?, …);``, for several."""
    insertion, row = sql.rstrip(";").split(" VALUES ")
    return f"{insertion} VALUES {', '.join([row] * ROWS_AT_ONCE)};"


def _refuse_lost(*_: Any, **__: Any) -> NoReturn:
    raise TurnLost(
        "the transaction was aborted by one of its statements (ON CONFLICT ROLLBACK, RAISE(ROLLBACK)): "
        "nothing of it remains and nothing more can run in it; use ABORT instead of ROLLBACK"
    )
