"""The course of a request, as three pure functions: what it hears, what that changes, what it is owed.

```
                       ┌─ an answer, a refusal ──▶ Answered, Refused
    Requested ─────────┤
                       └─ the deadline ──▶ DeadlinePassed ─ an answer ─▶ AnsweredLate
```

Whichever is recorded first is its end, for ever. An answer that is heard after the deadline comes too
late also if nobody has recorded yet that it has passed: what counts is the clock of whoever asked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never

from finality.core.request.events import (
    AnswerCame,
    Answered,
    AnsweredLate,
    AwaitAnswer,
    AwaitDeadline,
    DeadlineCame,
    DeadlinePassed,
    RefusalCame,
    Refused,
    RequestCommand,
    Requested,
    RequestEvent,
    RequestSignal,
)
from finality.core.saga.events import TakenOver
from finality.core.saga.summary import Summary

KIND = "request"
DEFINITION = "1"  # Of the events; another version of them gets another number.
REFUSAL = "a refusal"  # What a refusal that came too late is called.

WAITING, ANSWERED, REFUSED, EXPIRED = "waiting", "answered", "refused", "expired"


@dataclass(frozen=True, slots=True)
class RequestState:
    """What is known of a request.

    Attributes:
        end: How it ended, once it has.
        is_answered_late: An answer has come after that.
    """

    requested: Requested
    end: Answered | Refused | DeadlinePassed | None = None
    is_answered_late: bool = False


def decide(state: RequestState, signal: RequestSignal) -> tuple[RequestEvent, ...]:
    """Return what *signal* makes true; nothing if it is known, or the request has its answer."""
    match state.end:
        case None:
            return _ending(state.requested, signal)
        case DeadlinePassed() if not isinstance(signal, DeadlineCame) and not state.is_answered_late:
            return (_late(signal),)
        case _:
            return ()


def _ending(requested: Requested, signal: RequestSignal) -> tuple[RequestEvent, ...]:
    is_over = signal.now >= requested.deadline
    match signal:
        case DeadlineCame():
            return (DeadlinePassed(),) if is_over else ()
        case AnswerCame() | RefusalCame() if is_over:
            return DeadlinePassed(), _late(signal)
        case AnswerCame(type_, value, source):
            return (Answered(type_, value, source),)
        case RefusalCame(because, source):
            return (Refused(because, source),)
        case _:
            assert_never(signal)


def _late(signal: AnswerCame | RefusalCame) -> AnsweredLate:
    return AnsweredLate(signal.type if isinstance(signal, AnswerCame) else REFUSAL, signal.source)


def evolve(state: RequestState | None, event: RequestEvent | TakenOver) -> RequestState:
    """Return *state* after *event*; nothing is before the first one."""
    if isinstance(event, Requested):
        assert state is None, f"{state} was requested again"
        return RequestState(event)
    assert state is not None, f"{event} came before the request"
    match event:
        case Answered() | Refused() | DeadlinePassed():
            assert state.end is None, f"{event} came after {state.end}"
            return replace(state, end=event)
        case AnsweredLate():
            return replace(state, is_answered_late=True)
        case TakenOver():
            return state  # Another node keeps its deadline now.
        case _:
            assert_never(event)


def outstanding(state: RequestState) -> tuple[RequestCommand, ...]:
    """Return what the world still owes the request."""
    if state.end is not None:
        return ()
    requested = state.requested
    return AwaitAnswer(requested.topic, requested.type), AwaitDeadline(requested.deadline)


def summary_of(state: RequestState) -> Summary:
    """Return the request in one line."""
    match state.end:
        case None:
            return Summary(WAITING, wake_at=state.requested.deadline)
        case Answered():
            return Summary(ANSWERED, has_ended=True)
        case Refused():
            return Summary(REFUSED, has_ended=True)
        case DeadlinePassed():
            return Summary(EXPIRED, has_ended=True)
        case _:
            assert_never(state.end)
