"""What a saga is owed by the world: commands, computed from its state."""

from __future__ import annotations

from finality.core.ids import TransactionId
from finality.core.value import value


@value
class Run:
    """Run the branch, not before that time."""

    step: str
    attempt: int
    not_before: float = 0.0


@value
class Compensate:
    """Run the branch's compensation, not before that time."""

    step: str
    attempt: int
    not_before: float = 0.0


@value
class StartWait:
    """Read the clock and start to wait."""

    step: str


@value
class AwaitTime:
    """Say when the time has come; *signal* is what may come first."""

    step: str
    until: float | None
    signal: str | None = None


@value
class CountItems:
    """Count the items of the list that the step runs over, not before that time."""

    step: str
    not_before: float = 0.0


@value
class StartChild:
    """Start the branch's child saga, not before that time."""

    step: str
    not_before: float = 0.0


@value
class AwaitChild:
    """Say how the child saga ended."""

    step: str
    child: TransactionId


@value
class UndoChild:
    """See to it that the child saga is undone, whether it still runs or has completed."""

    step: str
    child: TransactionId


@value
class FindAnswer:
    """The step was asked before the undo began: wait for its answer, or say that it is lost."""

    step: str


@value
class AwaitDeadline:
    """Say when the saga's deadline has come."""

    at: float


@value
class AskPerson:
    """A person has to act."""

    because: str


SagaCommand = (
    Run | Compensate | StartWait | AwaitTime | CountItems | StartChild | AwaitChild | UndoChild
    | FindAnswer | AwaitDeadline | AskPerson
)  # fmt: skip
