"""What a turn can do in a SQLite store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from finality.adapters.sqlite.queries import QUERIES
from finality.core.errors import FinalityError
from finality.core.ids import TransactionId
from finality.ports.environment import Environment
from finality.ports.store import Rows


class StatementRefused(FinalityError):
    """A statement of the user's would break what its transaction promises."""

    code = "statement_refused"


REFUSED_ACTIONS = frozenset(
    {apsw.SQLITE_TRANSACTION, apsw.SQLITE_SAVEPOINT, apsw.SQLITE_ATTACH, apsw.SQLITE_DETACH, apsw.SQLITE_PRAGMA}
)  # fmt: skip
WRITES = frozenset({apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE, apsw.SQLITE_DROP_TABLE})
OURS = "finality_"


class SqliteTransaction:
    """Fulfils ``ports.store.LocalTransaction`` on the writer's connection.

    A savepoint is opened at the first thing that may have to be undone, so that a turn which
    only appends to the journal pays for none.
    """

    def __init__(self, connection: apsw.Connection, environment: Environment) -> None:
        self.at = 0.0
        self._connection = connection
        self._sql = connection.execute
        self._environment = environment
        self._is_guarded = False
        self._has_written = False
        self._is_user = False
        connection.authorizer = self._authorize

    # ── How the engine ends a turn ──────────────────────────────────────────────────────────

    def start(self) -> None:
        """Begin the transaction that the turns share."""
        self.at = self._environment.now()
        self._is_guarded = self._has_written = False

    def keep_turn(self) -> None:
        """Keep what the turn wrote."""
        if self._is_guarded:
            self._sql("RELEASE finality_turn")
            self._is_guarded = False
        self._has_written = False

    def undo_turn(self) -> bool:
        """Undo what the turn wrote; False when that takes aborting the whole transaction."""
        if not self._connection.in_transaction or (self._has_written and not self._is_guarded):
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
        self._is_user = True
        try:
            return Rows(self._sql(sql, parameters).fetchall())
        except apsw.AuthError as error:
            raise StatementRefused(
                f"the statement {sql[:60]!r} is refused: it would end the transaction, change a setting or "
                "write a table of Finality's; the transaction ends when your code returns"
            ) from error
        finally:
            self._is_user = False

    def undo(self) -> None:
        """Take back all that this turn has written so far."""
        if not self.undo_turn():
            raise apsw.AbortError("the turn cannot be undone alone")

    def witness(self, transaction: TransactionId, branch: str, operation: str) -> str | None:
        """Return what the branch's operation answered here."""
        row = self._sql(QUERIES["witness"], (transaction, branch, operation)).fetchone()
        return str(row[0]) if row else None

    def testify(self, transaction: TransactionId, branch: str, operation: str, answer: str) -> None:
        """Record what the branch's operation answered here."""
        self._guard()
        self._sql(QUERIES["testify"], (transaction, branch, operation, answer, self.at))

    def publish(self, topic: str, key: str, type_name: str, payload: bytes) -> None:
        """Put an event into the outbox."""
        self._guard()
        id = f"{self._environment.random_bits(128):032x}"
        self._sql(QUERIES["publish"], (id, topic, key, type_name, payload, self.at))

    def _authorize(self, action: int, first: str | None, *_: str | None) -> int:
        if not self._is_user:
            return apsw.SQLITE_OK
        if action in REFUSED_ACTIONS or (action in WRITES and (first or "").startswith(OURS)):
            return apsw.SQLITE_DENY
        return apsw.SQLITE_OK
