"""What a turn can do in a store in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from finality.adapters.memory import sql
from finality.adapters.memory.database import MemoryDatabase
from finality.adapters.memory.events import MemoryEventTransaction
from finality.core.errors import TransactionAborted
from finality.core.ids import TransactionId, uuid7
from finality.ports.environment import Environment
from finality.ports.store import HOLD, Hold, Rows


class TurnLost(TransactionAborted):
    """The turn cannot go on: only aborting the transaction that it shares undoes it."""

    code = "turn_lost"


class MemoryTransaction(MemoryEventTransaction):
    """Fulfils ``ports.store.LocalTransaction``."""

    def __init__(self, database: MemoryDatabase, environment: Environment) -> None:
        self.at = 0.0
        self.has_begun_sql = False
        self._database = database
        self._environment = environment
        self._mark = (0, 0)
        self._is_single = False
        self._is_guarded = False
        self._is_lost = False

    # ── How the engine begins and ends a turn ───────────────────────────────────────────────

    def start(self, *, is_single: bool) -> None:
        """Begin the transaction that the turns share, or that one turn has for itself."""
        self.at = self._environment.now()
        self.has_begun_sql = self._is_guarded = self._is_lost = False
        self._is_single = is_single
        self._mark = self._database.mark()

    def keep_turn(self) -> None:
        """Keep what the turn wrote."""
        self._check()
        if self._is_guarded:
            self._database.sql.control(sql.KEEP)
            self._is_guarded = False
        self._mark = self._database.mark()

    def undo_turn(self) -> bool:
        """Undo what the turn wrote; False when that takes aborting the whole transaction."""
        if self._is_lost:
            return False
        if self._is_guarded:
            self._database.sql.control(sql.UNDO)
            self._database.sql.control(sql.KEEP)
            self._is_guarded = False
        self._database.undo_to(self._mark)
        return True

    def _check(self) -> None:
        if self._is_lost:
            raise TurnLost(
                "the transaction was aborted by one of its statements (ON CONFLICT ROLLBACK, "
                "RAISE(ROLLBACK)): nothing of it remains, nothing more can run in it; use ABORT instead"
            )

    # ── The port ────────────────────────────────────────────────────────────────────────────

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        """Run one statement of the user's own."""
        self._check()
        if not self._is_guarded:
            if not self.has_begun_sql:
                self._database.sql.control(sql.BEGIN)
                self.has_begun_sql = True
            self._database.sql.control(sql.GUARD)
            self._is_guarded = True
        try:
            return self._database.sql.write(statement, parameters)
        except Exception:
            self._is_lost = not self._database.sql.is_open
            raise

    def undo(self) -> None:
        """Take back all that this turn has written so far."""
        if self._is_lost and self._is_single:
            self.has_begun_sql = self._is_guarded = self._is_lost = False
        if not self.undo_turn():
            self._check()

    def witness(self, transaction: TransactionId, branch: str, operation: str) -> str | None:
        """Return what the branch's operation answered here."""
        found = self._database.witness.get((transaction, branch, operation))
        return found[0] if found else None

    def testify(self, transaction: TransactionId, branch: str, operation: str, answer: str) -> None:
        """Record what the branch's operation answered here."""
        self._check()
        self._database.witness.put((transaction, branch, operation), (answer, self.at))

    def retract(self, transaction: TransactionId, branch: str, operation: str) -> None:
        """Take back what the branch testified."""
        self._check()
        self._database.witness.put((transaction, branch, operation), None)

    def holds(self) -> list[Hold]:
        """Return what waits for a decision."""
        rows = self._database.witness.rows()
        held = [
            Hold(TransactionId(id), branch, *said)
            for (id, branch, operation), said in rows
            if operation == HOLD
        ]
        return sorted(held, key=lambda hold: hold.at)

    def new_id(self) -> str:
        """Return an id that nothing else has, later ones behind earlier ones."""
        return uuid7(int(self.at * 1000), self._environment.random_bits(74))
