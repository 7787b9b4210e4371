"""What is said of a request: its events, the signals that bring them about, and what it is owed."""

from __future__ import annotations

from dataclasses import dataclass

from finality.core.ids import Json


@dataclass(frozen=True, slots=True)
class Requested:
    """It was published, in the very commit of this record.

    Attributes:
        topic: Where whoever answers gets it from.
        type: The type name of what was asked, *input* its value.
        reply_to: The topic on which its answer is awaited.
        deadline: When an answer counts no more, in seconds since the Unix epoch.
    """

    topic: str
    key: str
    type: str
    input: Json
    reply_to: str
    deadline: float


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer has come in time.

    Attributes:
        type: The type name of the answer, *value* what it says.
        source: The store in which it was published.
    """

    type: str
    value: Json
    source: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Whoever was asked has said no, in time."""

    because: str
    source: str


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """Nobody has answered in time."""


@dataclass(frozen=True, slots=True)
class AnsweredLate:
    """An answer has come after the deadline, and changes nothing."""

    type: str
    source: str


RequestEvent = Requested | Answered | Refused | DeadlinePassed | AnsweredLate


@dataclass(frozen=True, slots=True)
class AnswerCame:
    """An answer was delivered, perhaps again, or another one after it."""

    type: str
    value: Json
    source: str
    now: float


@dataclass(frozen=True, slots=True)
class RefusalCame:
    """A refusal was delivered, perhaps again."""

    because: str
    source: str
    now: float


@dataclass(frozen=True, slots=True)
class DeadlineCame:
    """The deadline may have passed."""

    now: float


RequestSignal = AnswerCame | RefusalCame | DeadlineCame


@dataclass(frozen=True, slots=True)
class AwaitAnswer:
    """Nobody has answered yet."""

    topic: str
    type: str


@dataclass(frozen=True, slots=True)
class AwaitDeadline:
    """The deadline is to come."""

    at: float


RequestCommand = AwaitAnswer | AwaitDeadline
