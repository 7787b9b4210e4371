"""The witness of a branch in a store that is not the home: a step there runs at most once."""

from __future__ import annotations

from collections.abc import Callable

from finality.core.errors import Refused
from finality.core.ids import Json, TransactionId
from finality.core.participant import Answer, Operation, RefuseLate, Repeat, Witness, answer_to
from finality.core.saga import events as e
from finality.ports.environment import (
    COMPENSATION_AFTER,
    COMPENSATION_BEFORE,
    STEP_AFTER,
    STEP_BEFORE,
)
from finality.ports.store import LocalTransaction
from finality.runtime.answers import kept, reason
from finality.runtime.arguments import call
from finality.runtime.context import Context
from finality.runtime.definition import Action
from finality.runtime.drive import Drive
from finality.runtime.tracing import span_of_step

NULL = Json("null")
YES, NO = "yes ", "no "  # What stands before an answer in its witness row.

Heard = Callable[[Drive, e.Run | e.Compensate, Answer | None, BaseException | None], None]


def operation_of(command: e.Run | e.Compensate) -> Operation:
    """Return what *command* asks of the branch."""
    return Operation.COMPENSATION if isinstance(command, e.Compensate) else Operation.ACTION


def witness_of(tx: LocalTransaction, id: TransactionId, branch: str) -> Witness:
    """Return what the store has recorded of a branch."""
    return Witness(_answer(tx, id, branch, Operation.ACTION), _answer(tx, id, branch, Operation.COMPENSATION))


def _answer(tx: LocalTransaction, id: TransactionId, branch: str, operation: Operation) -> Answer | None:
    text = tx.witness(id, branch, operation.value)
    if text is None:
        return None
    return Answer(Json(text.removeprefix(YES).removeprefix(NO)), is_refusal=text.startswith(NO))


def testify(
    tx: LocalTransaction, id: TransactionId, branch: str, operation: Operation, answer: Answer
) -> None:
    """Record what a branch's operation answered."""
    tx.testify(id, branch, operation.value, (NO if answer.is_refusal else YES) + answer.value)


def known_answer(
    tx: LocalTransaction, id: TransactionId, command: e.Run | e.Compensate
) -> tuple[Answer | None, Json | None]:
    """Return the answer that needs no run, if there is one, and else what a compensation undoes."""
    operation = operation_of(command)
    reply = answer_to(witness_of(tx, id, command.step), operation)
    if isinstance(reply, Repeat):
        return reply.answer, None
    if isinstance(reply, RefuseLate):
        return Answer(Json(f'"{reply.because}"'), is_refusal=True), None
    if operation is Operation.COMPENSATION and reply.undoes is None:
        empty = Answer(NULL)
        testify(tx, id, command.step, operation, empty)
        return empty, None
    return None, reply.undoes.value if reply.undoes else None


class WitnessedTurn:
    """Runs a plain step or compensation in another store, with a witness in the same commit.

    The saga hears the answer in a turn of its own, in the home store, afterwards.
    """

    __slots__ = ("_action", "_answer", "_command", "_context", "_drive", "_heard")

    def __init__(
        self, context: Context, drive: Drive, command: e.Run | e.Compensate, action: Action, heard: Heard
    ) -> None:
        self._context = context
        self._drive = drive
        self._command = command
        self._action = action
        self._heard = heard
        self._answer: Answer | None = None

    @property
    def name(self) -> str:
        """Return who holds the store, for the report about slow turns."""
        return f"step {self._command.step!r} of saga {self._drive.definition.kind} {self._drive.id}"

    def run(self, tx: LocalTransaction) -> None:
        """Answer what was answered before, or run the user's code and leave a witness."""
        drive, command, context = self._drive, self._command, self._context
        self._answer, own = known_answer(tx, drive.id, command)
        if self._answer is not None:
            return
        is_undo = isinstance(command, e.Compensate)
        context.environment.reach(COMPENSATION_BEFORE if is_undo else STEP_BEFORE)
        try:
            with span_of_step(context, drive, command):
                result = call(
                    self._action, drive, drive.state, context.codec, command.step,
                    tx=context.turn_tx(tx, drive.id, None), attempt=command.attempt, own=own, is_undo=is_undo,
                )  # fmt: skip
            self._answer = Answer(NULL if is_undo else kept(context, command.step, result))
        except Refused as refused:
            if is_undo:
                raise
            tx.undo()
            self._answer = refusal(context, drive, refused)
        testify(tx, drive.id, command.step, operation_of(command), self._answer)
        context.environment.reach(COMPENSATION_AFTER if is_undo else STEP_AFTER)

    def forget(self) -> None:
        """Forget the answer."""
        self._answer = None

    def settle(self, error: BaseException | None) -> None:
        """Pass the answer on."""
        self._heard(self._drive, self._command, self._answer, error)


class KnownAlready(Exception):
    """The store has another answer of the branch: nothing of this scope may remain."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("the store has an answer of this branch already")
        self.answer = answer


class TestifyTurn:
    """Ends the scope of an ``async`` step in another store with its witness."""

    __test__ = False  # Its name is no test's.

    def __init__(self, drive: Drive, command: e.Run | e.Compensate, answer: Answer) -> None:
        self.name = f"step {command.step!r} of saga {drive.definition.kind} {drive.id}"
        self._answer = answer
        self._drive = drive
        self._command = command

    def run(self, tx: LocalTransaction) -> None:
        """Record the answer.

        Raises:
            KnownAlready: There is one; the scope is aborted.
        """
        known, _ = known_answer(tx, self._drive.id, self._command)
        if known is not None:
            raise KnownAlready(known)
        testify(tx, self._drive.id, self._command.step, operation_of(self._command), self._answer)

    def forget(self) -> None:
        """Nothing in memory has changed."""

    def settle(self, error: BaseException | None) -> None:
        """The scope's own answer tells."""


def refusal(context: Context, drive: Drive, refused: Refused) -> Answer:
    """Return the answer that a refusal is, without the saga's secrets."""
    return Answer(context.codec.encode(reason(context, drive, refused)), is_refusal=True)
