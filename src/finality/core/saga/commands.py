"""What a saga is owed by the world: commands, computed from its state."""

from __future__ import annotations

from dataclasses import dataclass

from finality.core.ids import TransactionId


@dataclass(frozen=True, slots=True)
class Run:
    """Run the branch, not before that time."""

    step: str
    attempt: int
    not_before: float = 0.0


@dataclass(frozen=True, slots=True)
class Compensate:
    """Run the branch's compensation, not before that time."""

    step: str
    attempt: int
    not_before: float = 0.0


@dataclass(frozen=True, slots=True)
class StartWait:
    """Read the clock and start to wait."""

    step: str


@dataclass(frozen=True, slots=True)
class AwaitTime:
    """Say when the time has come; *signal* is what may come first."""

    step: str
    until: float | None
    signal: str | None = None


@dataclass(frozen=True, slots=True)
class CountItems:
    """Count the items of the list that the step runs over, not before that time."""

    step: str
    not_before: float = 0.0


@dataclass(frozen=True, slots=True)
class StartChild:
    """Start the branch's child saga, not before that time."""

    step: str
    not_before: float = 0.0


@dataclass(frozen=True, slots=True)
class AwaitChild:
    """Say how the child saga ended."""

    step: str
    child: TransactionId


@dataclass(frozen=True, slots=True)
class UndoChild:
    """See to it that the child saga is undone, whether it still runs or has completed."""

    step: str
    child: TransactionId


@dataclass(frozen=True, slots=True)
class FindAnswer:
    """The step was asked before the undo began: wait for its answer, or say that it is lost."""

    step: str


@dataclass(frozen=True, slots=True)
class AwaitDeadline:
    """Say when the saga's deadline has come."""

    at: float


@dataclass(frozen=True, slots=True)
class AskPerson:
    """A person has to act."""

    because: str


SagaCommand = (
    Run | Compensate | StartWait | AwaitTime | CountItems | StartChild | AwaitChild | UndoChild
    | FindAnswer | AwaitDeadline | AskPerson
)  # fmt: skip
