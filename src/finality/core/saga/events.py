"""What can be true of a saga, be said to it, and be owed by it: events, signals, commands.

A *branch* is one run of a step: ``payment``, or ``license[3]`` for the fourth item of a list.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from finality.core.ids import Json, TransactionId



class Reason(Enum):
    """Why a saga is undone."""

    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    PARENT = "parent"


# ── Events: facts, in the past tense ────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Started:
    """The saga is accepted and will end. *parent* is the saga whose step *parent_step* it is."""

    saga: str
    version: str
    input: Json
    deadline: float | None = None
    parent: TransactionId | None = None
    parent_step: str | None = None


@dataclass(frozen=True, slots=True)
class WaitStarted:
    """A step's needs are there; it waits *until* then, or for its signal."""

    step: str
    until: float | None


@dataclass(frozen=True, slots=True)
class WaitEnded:
    """The time has come, or the signal's default stands in for it."""

    step: str
    value: Json | None = None


@dataclass(frozen=True, slots=True)
class SignalReceived:
    """Someone sent the saga a named value; the first one counts."""

    name: str
    value: Json
    by: str


@dataclass(frozen=True, slots=True)
class FanOutStarted:
    """A step runs once for each of *items* items."""

    step: str
    items: int


@dataclass(frozen=True, slots=True)
class ChildStarted:
    """A step runs the saga *child*."""

    step: str
    child: TransactionId


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step whose answer can be lost is about to be asked."""

    step: str
    attempt: int


@dataclass(frozen=True, slots=True)
class StepDone:
    """The step took effect."""

    step: str
    result: Json
    attempt: int


@dataclass(frozen=True, slots=True)
class StepSkipped:
    """The step's condition did not hold."""

    step: str


@dataclass(frozen=True, slots=True)
class StepFailed:
    """An attempt failed for a technical reason; *retry_at* is None when it was the last one."""

    step: str
    attempt: int
    because: str
    retry_at: float | None


@dataclass(frozen=True, slots=True)
class StepPostponed:
    """The step was not even tried, as with an open circuit breaker; no attempt is counted."""

    step: str
    until: float
    because: str


@dataclass(frozen=True, slots=True)
class StepRefused:
    """The participant said no: the step has no effect and is never retried."""

    step: str
    attempt: int
    because: str


@dataclass(frozen=True, slots=True)
class StepLost:
    """Nobody knows whether the step took effect, so its compensation must cover both."""

    step: str
    because: str


@dataclass(frozen=True, slots=True)
class UndoStarted:
    """From here on everything done is undone. *step* is the one that failed, if one did."""

    because: str
    reason: Reason
    step: str | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class CompensationDone:
    """The compensation took effect."""

    step: str
    attempt: int


@dataclass(frozen=True, slots=True)
class CompensationFailed:
    """An attempt to compensate failed; *retry_at* is None when it was the last one."""

    step: str
    attempt: int
    because: str
    retry_at: float | None


@dataclass(frozen=True, slots=True)
class BecameStuck:
    """The saga cannot go on at this step without a person."""

    step: str
    because: str


@dataclass(frozen=True, slots=True)
class Parked:
    """The saga cannot be read or driven by this definition; it is left alone."""

    because: str


@dataclass(frozen=True, slots=True)
class Retried:
    """A person set a stuck or parked saga going again."""

    by: str
    because: str


@dataclass(frozen=True, slots=True)
class TakenOver:
    """Another node drives the saga now; the new version fences the old one off."""

    by: str
    previous: str


@dataclass(frozen=True, slots=True)
class Migrated:
    """The saga goes on under another version of its definition."""

    version: str
    previous: str


@dataclass(frozen=True, slots=True)
class Completed:
    """Every step is settled."""


@dataclass(frozen=True, slots=True)
class Compensated:
    """Everything that was done is undone."""


SagaEvent = (
    Started | WaitStarted | WaitEnded | SignalReceived | FanOutStarted | ChildStarted
    | StepStarted | StepDone | StepSkipped | StepFailed | StepPostponed | StepRefused | StepLost
    | UndoStarted | CompensationDone | CompensationFailed
    | BecameStuck | Parked | Retried | TakenOver | Migrated | Completed | Compensated
)  # fmt: skip

# ── Signals: what is learned from outside ───────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Begin:
    """A caller asks for the saga; the definition is in the state already."""

    input: Json
    now: float
    parent: TransactionId | None = None
    parent_step: str | None = None


@dataclass(frozen=True, slots=True)
class WaitBegun:
    """The clock reads *now* as the step starts to wait."""

    step: str
    now: float


@dataclass(frozen=True, slots=True)
class TimeCame:
    """The time that the step waits for has come."""

    step: str
    now: float


@dataclass(frozen=True, slots=True)
class Told:
    """Someone sends the saga a named value."""

    name: str
    value: Json
    by: str


@dataclass(frozen=True, slots=True)
class ItemsCounted:
    """The list that the step runs over has this many items."""

    step: str
    items: int


@dataclass(frozen=True, slots=True)
class ChildBegun:
    """The child saga is accepted, in the same commit."""

    step: str
    child: TransactionId


@dataclass(frozen=True, slots=True)
class AboutToRun:
    """The step is going to be asked now."""

    step: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The step answered."""

    step: str
    result: Json
    attempt: int


@dataclass(frozen=True, slots=True)
class Declined:
    """The step's condition does not hold."""

    step: str


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt failed for a technical reason. *chance* is random, 0 to 1, for the jitter."""

    step: str
    attempt: int
    because: str
    now: float
    chance: float = 0.0


@dataclass(frozen=True, slots=True)
class Postponed:
    """The step may not be tried before *until*."""

    step: str
    until: float
    because: str


@dataclass(frozen=True, slots=True)
class RefusedBy:
    """The participant said no."""

    step: str
    attempt: int
    because: str


@dataclass(frozen=True, slots=True)
class AnswerLost:
    """The step was asked by a node that is gone, and its answer with it."""

    step: str


@dataclass(frozen=True, slots=True)
class CompensationSucceeded:
    """The compensation took effect."""

    step: str
    attempt: int


@dataclass(frozen=True, slots=True)
class CompensationErred:
    """The compensation failed; *is_final* when no retry can help."""

    step: str
    attempt: int
    because: str
    now: float
    chance: float = 0.0
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class Cancel:
    """Someone asks to undo the saga."""

    by: str
    because: str


@dataclass(frozen=True, slots=True)
class DeadlineCame:
    """The saga's deadline has come."""

    now: float


@dataclass(frozen=True, slots=True)
class RetryAsked:
    """A person says that a stuck or parked saga can go on."""

    by: str
    because: str


@dataclass(frozen=True, slots=True)
class UndoAsked:
    """The parent undoes this child, even a completed one."""

    because: str


SagaSignal = (
    Begin | WaitBegun | TimeCame | Told | ItemsCounted | ChildBegun | AboutToRun | Succeeded
    | Declined | Failed | Postponed | RefusedBy | AnswerLost | CompensationSucceeded
    | CompensationErred | Cancel | DeadlineCame | RetryAsked | UndoAsked
)  # fmt: skip

# ── Commands: what the world still owes ─────────────────────────────────────────────────────


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
    """Count the items of the list that the step runs over."""

    step: str


@dataclass(frozen=True, slots=True)
class StartChild:
    """Start the step's child saga."""

    step: str


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


def branch_name(step: str, item: int) -> str:
    """Return the branch of *step* that works on its list's *item*, counted from 0."""
    return f"{step}[{item}]"


def split_branch(branch: str) -> tuple[str, int | None]:
    """Return the step of *branch* and the item that it works on, if it runs over a list."""
    if not branch.endswith("]"):
        return branch, None
    step, _, item = branch[:-1].partition("[")
    return step, int(item)
