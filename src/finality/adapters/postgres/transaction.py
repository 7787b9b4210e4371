"""What a turn can do in a PostgreSQL store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from finality.adapters.engine import Stale
from finality.adapters.postgres.events import PostgresEventTransaction
from finality.adapters.postgres.line import Line
from finality.adapters.postgres.queries import QUERIES
from finality.adapters.postgres.session import ERRORS
from finality.adapters.postgres.statement import refuse, statement_of
from finality.core.errors import TransactionAborted, Unavailable
from finality.core.ids import TransactionId, uuid7
from finality.ports.environment import Environment
from finality.ports.store import Hold, Rows

RUN_AGAIN = ("40001", "40P01", "55P03")  # Another transaction was in the way, of whichever turn.


Signature = tuple[str, int]
"""The line on which a batch is written, and the batch's number."""


class TurnLost(TransactionAborted):
    """One of the turn's statements has failed, so nothing more can run in it."""

    code = "turn_lost"


class PostgresTransaction(PostgresEventTransaction):
    """Fulfils ``ports.store.LocalTransaction`` on the writer's line.

    The transaction begins on the server with the first statement that is sent, and a savepoint with
    the first that may have to be undone there, in one message with it: turns that only append to the
    journal pay for neither.

    Attributes:
        has_begun: The server knows of it.
        has_sent: It has written something there, so it has to be signed.
    """

    def __init__(self, line: Line, environment: Environment) -> None:
        self.at = 0.0
        self.has_begun = False
        self.has_sent = False
        self.is_stale = False
        self._line = line
        self._environment = environment
        self._is_guarded = False
        self._is_held = False  # The savepoint of a turn that was kept: it goes with the next message.
        self._failed: BaseException | None = None
        self._signature: Signature = ("", 0)

    # ── How the engine begins and ends a turn ───────────────────────────────────────────────

    def start(self, signature: Signature) -> None:
        """Begin the transaction that the turns share."""
        self.at = self._environment.now()
        self._signature = signature
        self.has_begun = self.has_sent = self.is_stale = self._is_guarded = self._is_held = False
        self._failed = None

    def sign(self) -> None:
        """Sign the transaction, so that it is known afterwards whether it has committed."""
        if self.has_sent:
            self._ask("mark", *self._signature, self.at)

    def whole(self) -> Any:
        """Return what one statement could do, if that is all of it: nothing here, all is sent at once."""

    def lose_all(self) -> None:
        """Hear that the whole transaction was aborted."""

    def keep_turn(self) -> None:
        """Keep what the turn wrote."""
        if self._failed is not None:
            raise self._lost() from self._failed
        self._is_held = self._is_held or self._is_guarded
        self._is_guarded = False

    def undo_turn(self) -> bool:
        """Undo what the turn wrote; False when that takes aborting the whole transaction."""
        is_lost = self._failed is not None and not self._is_guarded
        if is_lost or (self.has_begun and not self._line.is_open):
            return False
        if self._is_guarded:
            self._line.tell("ROLLBACK TO SAVEPOINT finality_turn; RELEASE SAVEPOINT finality_turn")
            self._is_guarded = False
        self._failed = None
        return True

    def _guard(self) -> None:
        if not self._is_guarded:
            self._begin()
            if self._is_held:
                self._line.prepare("RELEASE SAVEPOINT finality_turn")
            self._line.prepare("SAVEPOINT finality_turn")
            self._is_guarded, self._is_held = True, False

    def _begin(self) -> None:
        if self.has_begun:
            return
        if not self._line.has_answered():
            self.is_stale = True
            raise Stale("what was sent before has failed")
        self._line.begin()
        self.has_begun = True

    def _send(self, query: str, *parameters: Any) -> Sequence[Any]:
        """Run a statement of ours that writes, so that it can be undone with the turn."""
        self._guard()
        self.has_sent = True
        return self._ask(query, *parameters)

    def _ask(self, query: str, *parameters: Any) -> Sequence[Any]:
        if self._failed is not None:
            raise self._lost()
        return self._fetch(QUERIES[query], *parameters)

    def _fetch(self, sql: str, *parameters: Any) -> Sequence[Any]:
        self._begin()
        try:
            return self._line.fetch(sql, *parameters)
        except (*ERRORS, Unavailable) as error:
            self._failed = error
            raise

    # ── The port ────────────────────────────────────────────────────────────────────────────

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Rows:
        """Run one statement of the user's own; its placeholders are PostgreSQL's, $1 and $2."""
        refusal = statement_of(sql).refusal
        if refusal:
            raise refuse(sql, refusal)
        if self._failed is not None:
            raise self._lost()
        self._guard()
        self.has_sent = True
        return Rows(map(tuple, self._fetch(sql, *parameters)))

    def _lost(self) -> TurnLost:
        return TurnLost(
            f"nothing of the turn was written: one of its statements failed, {self._failed}; PostgreSQL "
            "goes on only with what is undone, so let the error pass"
        )

    def undo(self) -> None:
        """Take back all that this turn has written so far."""
        if not self.undo_turn():
            raise TurnLost("the connection was lost: nothing of the transaction remains; run it again")

    def witness(self, transaction: TransactionId, branch: str, operation: str) -> str | None:
        """Return what *operation* answered when the branch ran it here."""
        found = self._ask("witness", transaction, branch, operation)
        return str(found[0][0]) if found else None

    def testify(self, transaction: TransactionId, branch: str, operation: str, answer: str) -> None:
        """Record that the branch ran *operation* here and what it answered."""
        self._send("testify", transaction, branch, operation, answer, self.at)

    def retract(self, transaction: TransactionId, branch: str, operation: str) -> None:
        """Take back what the branch testified."""
        self._send("retract", transaction, branch, operation)

    def holds(self) -> list[Hold]:
        """Return what waits for a decision."""
        return [Hold(*row) for row in self._ask("holds")]

    def new_id(self) -> str:
        """Return an id that nothing else has, later ones behind earlier ones."""
        return uuid7(int(self.at * 1000), self._environment.random_bits(74))
