"""What can be said to a saga: signals, learned from outside."""

from __future__ import annotations

from finality.core.ids import Json, TransactionId
from finality.core.value import value


@value
class Begin:
    """A caller asks for the saga; the definition is in the state already."""

    input: Json
    now: float
    parent: TransactionId | None = None
    parent_step: str | None = None
    traceparent: str | None = None


@value
class WaitBegun:
    """The clock reads *now* as the step starts to wait."""

    step: str
    now: float


@value
class TimeCame:
    """The time that the step waits for has come."""

    step: str
    now: float


@value
class Told:
    """Someone sends the saga a named value."""

    name: str
    value: Json
    by: str


@value
class ItemsCounted:
    """The list that the step runs over has this many items."""

    step: str
    items: int


@value
class ChildBegun:
    """The child saga is accepted, in the same commit."""

    step: str
    child: TransactionId


@value
class AboutToRun:
    """The step is going to be asked now."""

    step: str
    attempt: int


@value
class Succeeded:
    """The step answered."""

    step: str
    result: Json
    attempt: int


@value
class Declined:
    """The step's condition does not hold."""

    step: str


@value
class Failed:
    """An attempt failed for a technical reason. *chance* is random, 0 to 1, for the jitter.

    It *is_final* when no other attempt can help, as with a result that is too large to keep.
    """

    step: str
    attempt: int
    because: str
    now: float
    chance: float = 0.0
    is_final: bool = False


@value
class Postponed:
    """The step may not be tried before *until*."""

    step: str
    until: float
    because: str


@value
class RefusedBy:
    """The participant said no."""

    step: str
    attempt: int
    because: str


@value
class AnswerLost:
    """The step was asked by a node that is gone, and its answer with it."""

    step: str


@value
class CompensationSucceeded:
    """The compensation took effect."""

    step: str
    attempt: int


@value
class CompensationErred:
    """The compensation failed; *is_final* when no retry can help."""

    step: str
    attempt: int
    because: str
    now: float
    chance: float = 0.0
    is_final: bool = False


@value
class Cancel:
    """Someone asks to undo the saga."""

    by: str
    because: str


@value
class DeadlineCame:
    """The saga's deadline has come."""

    now: float


@value
class RetryAsked:
    """A person says that a stuck or parked saga can go on."""

    by: str
    because: str


@value
class UndoAsked:
    """The parent undoes this child, even a completed one."""

    because: str


SagaSignal = (
    Begin | WaitBegun | TimeCame | Told | ItemsCounted | ChildBegun | AboutToRun | Succeeded
    | Declined | Failed | Postponed | RefusedBy | AnswerLost | CompensationSucceeded
    | CompensationErred | Cancel | DeadlineCame | RetryAsked | UndoAsked
)  # fmt: skip
