"""From what a step's code returned or raised to the signal that the saga hears."""

from __future__ import annotations

from typing import Any

from finality.core.errors import DefinitionError, FinalityError, Refused
from finality.core.ids import Json
from finality.core.participant import Answer
from finality.core.saga import events as e
from finality.ports.journal import EVENT_BYTES_MAX
from finality.runtime.context import Context
from finality.runtime.drive import Drive

BECAUSE_LENGTH_MAX = 2_000  # An error text is read by people; a whole response body is not.
RESULT_BYTES_MAX = EVENT_BYTES_MAX - 4_096  # What else an event says is shorter.
ESCAPED_BYTES_MAX = 8  # What a character may take in the JSON string that an event holds.
SHORT_LENGTH_MAX = RESULT_BYTES_MAX // ESCAPED_BYTES_MAX  # A text of this length fits, whatever is in it.

Asked = e.Run | e.Compensate


def answered(context: Context, command: Asked, result: Any) -> e.SagaSignal:
    """Return the signal of a result.

    Raises:
        Unkeepable: The result cannot be journaled.
    """
    if type(command) is e.Compensate:
        return e.CompensationSucceeded(command.step, command.attempt)
    return e.Succeeded(command.step, kept(context, command.step, result), command.attempt)


def kept(context: Context, branch: str, result: Any) -> Json:
    """Return *result* as the journal keeps it.

    Raises:
        Unkeepable: It cannot be written as JSON, or is too large.
    """
    try:
        text = context.codec.encode(result)
    except TypeError as error:
        raise Unkeepable(f"the result of {branch!r} cannot be journaled: {error}") from error
    if len(text) > SHORT_LENGTH_MAX:
        size = len(context.codec.encode(text))
        if size > RESULT_BYTES_MAX:
            raise Unkeepable(
                f"the result of {branch!r} is too large for the journal: {size} bytes, and "
                f"{RESULT_BYTES_MAX} is the most; store it elsewhere and yield a reference"
            )
    return text


class Unkeepable(Exception):
    """A step's result cannot be journaled. Another attempt would yield another such result."""


SAY_IT_ALL = (FinalityError, Unkeepable)  # Their message is a whole sentence.


def erred(context: Context, drive: Drive, command: Asked, error: BaseException) -> e.SagaSignal:
    """Return the signal of an exception: a refusal, or a technical failure."""
    because = reason(context, drive, error)
    is_undo, is_refusal = type(command) is e.Compensate, isinstance(error, Refused)
    if is_refusal and not is_undo:
        return e.RefusedBy(command.step, command.attempt, because)
    environment = context.environment
    now, chance = environment.now(), environment.chance()
    if is_undo:
        return e.CompensationErred(command.step, command.attempt, because, now, chance, is_refusal)
    # Neither the journal nor a declaration changes between two attempts.
    is_final = isinstance(error, Unkeepable | DefinitionError)
    return e.Failed(command.step, command.attempt, because, now, chance, is_final)


def told(context: Context, command: Asked, answer: Answer) -> e.SagaSignal:
    """Return the signal of an answer that a witness keeps."""
    if isinstance(command, e.Compensate):
        return e.CompensationSucceeded(command.step, command.attempt)
    if answer.is_refusal:
        return e.RefusedBy(command.step, command.attempt, context.codec.decode(answer.value, str))
    return e.Succeeded(command.step, Json(answer.value), command.attempt)


def reason(context: Context, drive: Drive, error: BaseException) -> str:
    """Return an error as one line for the journal, without the saga's secrets."""
    text = describe(error)
    if drive.secrets:  # Masked before it is cut: half a secret would not be found.
        text = context.redact(text, drive.secrets)
    return text[:BECAUSE_LENGTH_MAX]


def describe(error: BaseException) -> str:
    """Return an error as one line: our own and what a result breaks by the message, others by type too."""
    text = str(error)
    if isinstance(error, SAY_IT_ALL):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
