"""One run of a choreography, put together from the events that its services publish.

```
   Arrived ─▶ Seen ─┬─ completes ─▶ Completed
                    ├─ fails ─▶ every compensation that it leads to has answered ─▶ Undone
   DeadlineCame ────┴─▶ Expired ─▶ (published, and taken unless it completes) ─▶ again late ─▶ Overdue
```

Nobody conducts a run, so this is told, never asked: events may come in any order and twice, and the
state is the same. What is outstanding is what the world still owes: answers, by whom and to what.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from finality.core.choreography.shape import Part, Shape
from finality.core.saga.summary import NEVER, Summary

DEFINITION = "choreography"  # What the version of such a definition begins with.
PATIENCE = 2.0  # After so many deadlines, a run that has not ended needs a person.


@dataclass(frozen=True, slots=True)
class Seen:
    """An event of the run was published.

    Attributes:
        run: The correlation id that all events of the run have.
        because: The id of the event that it followed from.
        data: Of the event that begins the run, as its *content_type* says.
    """

    type: str
    id: str
    source: str
    key: str
    topic: str
    run: str
    at: float
    because: str | None = None
    data: bytes = b""
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class Expired:
    """The deadline has passed, and the event that says so was published with this record."""

    at: float


@dataclass(frozen=True, slots=True)
class Overdue:
    """It has not ended long after its deadline: a person is needed."""

    at: float


@dataclass(frozen=True, slots=True)
class Completed:
    """It has come to its good end."""


@dataclass(frozen=True, slots=True)
class Undone:
    """All that it has done is compensated."""


ChoreographyEvent = Seen | Expired | Overdue | Completed | Undone


@dataclass(frozen=True, slots=True)
class Arrived:
    """An event of the run has come, perhaps again."""

    seen: Seen


@dataclass(frozen=True, slots=True)
class DeadlineCame:
    """The deadline may have passed."""

    now: float


@dataclass(frozen=True, slots=True)
class AwaitAnswer:
    """A reaction has not answered an event yet."""

    part: str
    event: str
    types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AwaitWord:
    """An event from outside has not come yet."""

    type: str


@dataclass(frozen=True, slots=True)
class AwaitDeadline:
    """The deadline is to come."""

    at: float


Command = AwaitAnswer | AwaitWord | AwaitDeadline


@dataclass(frozen=True, slots=True)
class RunState:
    """What is known of a run.

    Attributes:
        expired_at: When its deadline has passed, if it has.
    """

    seen: tuple[Seen, ...] = ()
    expired_at: float | None = None
    is_overdue: bool = False
    end: Completed | Undone | None = None

    @property
    def types(self) -> set[str]:
        """Return the types of the events that were seen."""
        return {seen.type for seen in self.seen}

    def deadline(self, shape: Shape) -> float:
        """Return when the deadline passes."""
        begun = [seen.at for seen in self.seen if seen.type == shape.begins]
        return min(begun or [seen.at for seen in self.seen], default=NEVER) + shape.deadline_seconds

    def overdue_at(self, shape: Shape) -> float:
        """Return when it is overdue: so long after its deadline, or after that was heard of."""
        heard_at = self.deadline(shape) if self.expired_at is None else self.expired_at
        return heard_at + (PATIENCE - 1) * shape.deadline_seconds

    def begun(self, shape: Shape) -> Seen | None:
        """Return the event that began it, once it is seen."""
        return next((seen for seen in self.seen if seen.type == shape.begins), None)

    def failures(self, shape: Shape) -> tuple[str, ...]:
        """Return the failures that were seen."""
        return tuple(type_ for type_ in shape.fails if type_ in self.types)

    def owed(self, shape: Shape) -> tuple[Part, ...]:
        """Return the compensations that have not answered yet."""
        types = self.types
        return tuple(part for part in shape.owed(self.failures(shape)) if not types & {*part.answers})


NEW = RunState()


def decide(shape: Shape, state: RunState, signal: Arrived | DeadlineCame) -> tuple[ChoreographyEvent, ...]:
    """Return what *signal* makes true; nothing if it is known, or the run has ended."""
    if state.end is not None:
        return ()
    match signal:
        case Arrived(seen):
            if any((seen.source, seen.id) == (known.source, known.id) for known in state.seen):
                return ()
            after = evolve(state, seen)
            if shape.completes in after.types:
                return seen, Completed()
            if after.failures(shape) and not after.owed(shape):
                return seen, Undone()
            return (seen,)
        case DeadlineCame(now):
            if now < state.deadline(shape):
                return ()
            if state.expired_at is None and not state.failures(shape) and state.begun(shape) is not None:
                return (Expired(now),)
            return (Overdue(now),) if now >= state.overdue_at(shape) and not state.is_overdue else ()
        case _:
            assert_never(signal)


def evolve(state: RunState, event: ChoreographyEvent) -> RunState:
    """Return *state* after *event*."""
    match event:
        case Seen():
            return replace(state, seen=(*state.seen, event))
        case Expired(at):
            return replace(state, expired_at=at)
        case Overdue():
            return replace(state, is_overdue=True)
        case Completed() | Undone():
            return replace(state, end=event)
        case _:
            assert_never(event)


def outstanding(shape: Shape, state: RunState) -> tuple[Command, ...]:
    """Return what the world still owes the run."""
    if state.end is not None:
        return ()
    if state.failures(shape):
        return tuple(
            AwaitAnswer(part.name, ", ".join(part.takes), part.answers) for part in state.owed(shape)
        )
    answered = {(seen.because, seen.type) for seen in state.seen}
    awaited: list[Command] = []
    for seen in state.seen:
        for part in shape.takers(seen.type):
            is_open = not any((seen.id, type_) in answered for type_ in part.answers)
            if part.is_forward and part.answers and is_open and not part.may_be_silent:
                awaited.append(AwaitAnswer(part.name, seen.type, part.answers))
    awaited += [AwaitWord(type_) for type_ in shape.hears if type_ not in state.types]
    if not awaited:
        awaited = [AwaitAnswer(part.name, "", part.answers) for part in shape.sources(shape.completes)]
    if state.expired_at is None:
        awaited.append(AwaitDeadline(state.deadline(shape)))
    return tuple(awaited)


def summary_of(shape: Shape, state: RunState) -> Summary:
    """Return the run in one line."""
    match state.end:
        case Completed():
            return Summary("completed", has_ended=True)
        case Undone():
            return Summary("compensated", has_ended=True)
    if state.is_overdue:
        return Summary("stuck", wake_at=NEVER)
    status = "compensating" if state.failures(shape) or state.expired_at is not None else "running"
    return Summary(status, wake_at=state.deadline(shape) if status == "running" else NEVER)
