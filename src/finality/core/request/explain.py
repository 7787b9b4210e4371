"""A request in plain sentences: what was asked, what came of it, and what can be done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from finality.core.explain import Explanation, driven_by
from finality.core.ids import TRANSACTION_PREFIX
from finality.core.protocol import Recorded
from finality.core.request.course import RequestState, evolve, outstanding, summary_of
from finality.core.request.events import (
    Answered,
    AnsweredLate,
    AwaitAnswer,
    AwaitDeadline,
    DeadlinePassed,
    Refused,
    RequestCommand,
    Requested,
    RequestEvent,
)
from finality.core.saga.events import TakenOver
from finality.core.sentences import ago, as_shown, sentence_of, shortened, when


def explain_request(
    recorded: Sequence[Recorded], *, now: float, driver: str | None, note: str | None = None
) -> Explanation:
    """Explain the request whose stream is *recorded*.

    Args:
        now: Seconds since the Unix epoch.
        driver: The node that awaits its answer and keeps its deadline, if one does.
        note: Why none does.
    """
    id = recorded[0].stream.removeprefix(TRANSACTION_PREFIX)
    state: RequestState | None = None
    happened = []
    for item in recorded:
        state = evolve(state, item.event)
        happened.append(f"{ago(now - item.at)}: {_sentence(item.event, item.by, item.at)}")
    assert state is not None, f"the stream of request {id} does not begin with Requested"
    waits_for = tuple(_owed(command, now) for command in outstanding(state))
    by = "" if state.end is not None else driven_by(driver, note)
    headline = f"request {id} to {state.requested.topic} is {summary_of(state).status}{by}"
    return Explanation(headline, tuple(happened), waits_for, tuple(_choices(state)))


def _sentence(event: RequestEvent | TakenOver, by: str, at: float) -> str:
    match event:
        case Requested(topic, key, type_, input, _, deadline):
            of = f" for key {key}" if key else ""
            asked = f"{type_} {as_shown(input)} was sent to {topic}{of}"
            return f"{asked}, to be answered within {deadline - at:.3g} s ({by})"
        case Answered(type_, value, source):
            return f"it was answered: {type_} {as_shown(value)} ({source})"
        case Refused(because, source):
            return f"it was refused: {shortened(because)} ({source})"
        case DeadlinePassed():
            return "the deadline passed, and nobody had answered"
        case AnsweredLate(type_, source):
            return f"an answer came too late and changed nothing: {type_} ({source})"
        case TakenOver():
            return sentence_of(event, by, at)
        case _:
            assert_never(event)


def _owed(command: RequestCommand, now: float) -> str:
    match command:
        case AwaitAnswer(topic, type_):
            return f"an answer from whoever reacts to {type_} in {topic}"
        case AwaitDeadline(at):
            return f"its deadline {when(at, now)}: no answer counts after it"
        case _:
            assert_never(command)


def _choices(state: RequestState) -> list[str]:
    match state.end:
        case None:
            return [
                f"see whether a service reacts to {state.requested.topic}, and what it has parked: "
                "`finality event list` at its store"
            ]
        case DeadlinePassed():
            return [
                "ask again, under another id; whoever was asked may have acted all the same, and not "
                "answered in time: `finality event list` at its store says what it has parked"
            ]
        case _:
            return []
