"""What can be true of a saga, be said to it, and be owed by it: events, signals, commands.

The events are here; the signals and commands, which are never stored, have a module each and
are known by the same short name: ``from finality.core.saga import events as e``.

A *branch* is one run of a step: ``payment``, or ``license[3]`` for the fourth item of a list.
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum

from finality.core.ids import Json, TransactionId
from finality.core.saga.commands import (
    AskPerson,
    AwaitChild,
    AwaitDeadline,
    AwaitTime,
    Compensate,
    CountItems,
    FindAnswer,
    Run,
    SagaCommand,
    StartChild,
    StartWait,
    UndoChild,
)
from finality.core.saga.signals import (
    AboutToRun,
    AnswerLost,
    Begin,
    Cancel,
    ChildBegun,
    CompensationErred,
    CompensationSucceeded,
    DeadlineCame,
    Declined,
    Failed,
    ItemsCounted,
    Postponed,
    RefusedBy,
    RetryAsked,
    SagaSignal,
    Succeeded,
    TimeCame,
    Told,
    UndoAsked,
    WaitBegun,
)
from finality.core.value import value

__all__ = [  # noqa: RUF022 - in groups, by what they are
    # Events.
    "Reason",
    "Started",
    "WaitStarted",
    "WaitEnded",
    "SignalReceived",
    "FanOutStarted",
    "ChildStarted",
    "StepStarted",
    "StepDone",
    "StepSkipped",
    "StepFailed",
    "StepPostponed",
    "StepRefused",
    "StepLost",
    "UndoStarted",
    "CompensationDone",
    "CompensationFailed",
    "BecameStuck",
    "Parked",
    "Retried",
    "TakenOver",
    "Migrated",
    "Completed",
    "Compensated",
    "SagaEvent",
    "branch_name",
    "split_branch",
    # Commands.
    "Run",
    "Compensate",
    "StartWait",
    "AwaitTime",
    "CountItems",
    "StartChild",
    "AwaitChild",
    "UndoChild",
    "FindAnswer",
    "AwaitDeadline",
    "AskPerson",
    "SagaCommand",
    # Signals.
    "Begin",
    "WaitBegun",
    "TimeCame",
    "Told",
    "ItemsCounted",
    "ChildBegun",
    "AboutToRun",
    "Succeeded",
    "Declined",
    "Failed",
    "Postponed",
    "RefusedBy",
    "AnswerLost",
    "CompensationSucceeded",
    "CompensationErred",
    "Cancel",
    "DeadlineCame",
    "RetryAsked",
    "UndoAsked",
    "SagaSignal",
]


class Reason(Enum):
    """Why a saga is undone."""

    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    PARENT = "parent"


@value
class Started:
    """The saga is accepted and will end. *parent* is the saga whose step *parent_step* it is.

    *traceparent* is the span that started it, whose children the spans of its steps are.
    """

    saga: str
    version: str
    input: Json
    deadline: float | None = None
    parent: TransactionId | None = None
    parent_step: str | None = None
    traceparent: str | None = None


@value
class WaitStarted:
    """A step's needs are there; it waits *until* then, or for its signal."""

    step: str
    until: float | None


@value
class WaitEnded:
    """The time has come, or the signal's default stands in for it."""

    step: str
    value: Json | None = None


@value
class SignalReceived:
    """Someone sent the saga a named value; the first one counts."""

    name: str
    value: Json
    by: str


@value
class FanOutStarted:
    """A step runs once for each of *items* items."""

    step: str
    items: int


@value
class ChildStarted:
    """A step runs the saga *child*."""

    step: str
    child: TransactionId


@value
class StepStarted:
    """A step whose answer can be lost is about to be asked."""

    step: str
    attempt: int


@value
class StepDone:
    """The step took effect."""

    step: str
    result: Json
    attempt: int


@value
class StepSkipped:
    """The step's condition did not hold."""

    step: str


@value
class StepFailed:
    """An attempt failed for a technical reason; *retry_at* is None when it was the last one."""

    step: str
    attempt: int
    because: str
    retry_at: float | None


@value
class StepPostponed:
    """The step was not even tried, as with an open circuit breaker; no attempt is counted."""

    step: str
    until: float
    because: str


@value
class StepRefused:
    """The participant said no: the step has no effect and is never retried."""

    step: str
    attempt: int
    because: str


@value
class StepLost:
    """Nobody knows whether the step took effect, so its compensation must cover both."""

    step: str
    because: str


@value
class UndoStarted:
    """From here on everything done is undone. *step* is the one that failed, if one did."""

    because: str
    reason: Reason
    step: str | None = None
    by: str | None = None


@value
class CompensationDone:
    """The compensation took effect."""

    step: str
    attempt: int


@value
class CompensationFailed:
    """An attempt to compensate failed; *retry_at* is None when it was the last one."""

    step: str
    attempt: int
    because: str
    retry_at: float | None


@value
class BecameStuck:
    """The saga cannot go on at this step without a person."""

    step: str
    because: str


@value
class Parked:
    """The saga cannot be read or driven by this definition; it is left alone."""

    because: str


@value
class Retried:
    """A person set a stuck or parked saga going again."""

    by: str
    because: str


@value
class TakenOver:
    """Another node drives the saga now; the new version fences the old one off."""

    by: str
    previous: str


@value
class Migrated:
    """The saga goes on under another version of its definition, with some steps renamed."""

    version: str
    previous: str
    renamed: dict[str, str] = field(default_factory=dict)


@value
class Completed:
    """Every step is settled."""


@value
class Compensated:
    """Everything that was done is undone."""


SagaEvent = (
    Started | WaitStarted | WaitEnded | SignalReceived | FanOutStarted | ChildStarted
    | StepStarted | StepDone | StepSkipped | StepFailed | StepPostponed | StepRefused | StepLost
    | UndoStarted | CompensationDone | CompensationFailed
    | BecameStuck | Parked | Retried | TakenOver | Migrated | Completed | Compensated
)  # fmt: skip


def branch_name(step: str, item: int) -> str:
    """Return the branch of *step* that works on its list's *item*, counted from 0."""
    return f"{step}[{item}]"


def split_branch(branch: str) -> tuple[str, int | None]:
    """Return the step of *branch* and the item that it works on, if it runs over a list."""
    if not branch.endswith("]"):
        return branch, None
    step, _, item = branch[:-1].partition("[")
    return (step, int(item)) if item.isdecimal() else (branch, None)
