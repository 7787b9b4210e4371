"""From what a step's code returned or raised to the signal that the saga hears."""

from __future__ import annotations

from typing import Any

from finality.core.errors import FinalityError, Refused
from finality.core.ids import Json
from finality.core.participant import Answer
from finality.core.saga import events as e
from finality.runtime.context import Context
from finality.runtime.drive import Drive

BECAUSE_LENGTH_MAX = 2_000  # An error text is read by people; a whole response body is not.

Asked = e.Run | e.Compensate


def answered(context: Context, command: Asked, result: Any) -> e.SagaSignal:
    """Return the signal of a result.

    Raises:
        TypeError: The result cannot be encoded.
    """
    if isinstance(command, e.Compensate):
        return e.CompensationSucceeded(command.step, command.attempt)
    return e.Succeeded(command.step, context.codec.encode(result), command.attempt)


def erred(context: Context, drive: Drive, command: Asked, error: BaseException) -> e.SagaSignal:
    """Return the signal of an exception: a refusal, or a technical failure."""
    because = context.redact(describe(error), drive.secrets)
    environment = context.environment
    now, chance = environment.now(), environment.chance()
    if isinstance(command, e.Compensate):
        is_final = isinstance(error, Refused)
        return e.CompensationErred(command.step, command.attempt, because, now, chance, is_final)
    if isinstance(error, Refused):
        return e.RefusedBy(command.step, command.attempt, because)
    return e.Failed(command.step, command.attempt, because, now, chance)


def told(context: Context, command: Asked, answer: Answer) -> e.SagaSignal:
    """Return the signal of an answer that a witness keeps."""
    if isinstance(command, e.Compensate):
        return e.CompensationSucceeded(command.step, command.attempt)
    if answer.is_refusal:
        return e.RefusedBy(command.step, command.attempt, context.codec.decode(answer.value, str))
    return e.Succeeded(command.step, Json(answer.value), command.attempt)


def describe(error: BaseException) -> str:
    """Return an error as one line for the journal: our own by their message, others by type too."""
    text = str(error)
    if not isinstance(error, FinalityError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text[:BECAUSE_LENGTH_MAX]
