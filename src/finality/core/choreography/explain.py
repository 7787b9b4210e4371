"""A run of a choreography in plain sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from finality.core.choreography.run import (
    NEW,
    AwaitAnswer,
    AwaitDeadline,
    AwaitWord,
    ChoreographyEvent,
    Command,
    Completed,
    Expired,
    Overdue,
    Seen,
    Undone,
    evolve,
    outstanding,
    summary_of,
)
from finality.core.choreography.shape import Shape
from finality.core.explain import Explanation
from finality.core.ids import TRANSACTION_PREFIX
from finality.core.protocol import Recorded, fold
from finality.core.sentences import ago, when


def explain_run(recorded: Sequence[Recorded], shape: Shape, *, now: float) -> Explanation:
    """Explain the run whose stream is *recorded*.

    Args:
        now: Seconds since the Unix epoch.
    """
    id = recorded[0].stream.removeprefix(TRANSACTION_PREFIX)
    events: list[ChoreographyEvent] = [item.event for item in recorded]
    state = fold(evolve, NEW, events)
    by_id = {seen.id: seen.type for seen in state.seen}
    happened = tuple(f"{ago(now - item.at)}: {_sentence(shape, item.event, by_id)}" for item in recorded)
    waits_for = tuple(_owed(command, now) for command in outstanding(shape, state))
    summary = summary_of(shape, state)
    you_can = () if summary.has_ended else (
        "see whether that service runs and what it has parked: `finality event list` at its store",
    )  # fmt: skip
    headline = f"choreography {shape.name} {id} is {summary.status}, and nobody conducts it"
    return Explanation(headline, happened, waits_for, you_can)


def _sentence(shape: Shape, event: ChoreographyEvent, by_id: dict[str, str]) -> str:
    match event:
        case Seen():
            why = by_id.get(event.because or "", "")
            who = [part.name for part in shape.sources(event.type) if not why or why in part.takes]
            said = f"{' or '.join(who) or 'somebody'} said {event.type}"
            return f"{said} because of {why}" if why else said
        case Expired():
            return f"the deadline passed, and {shape.expires} was published"
        case Overdue():
            return "it had not ended long after its deadline, and needs a person"
        case Completed():
            return "it was completed"
        case Undone():
            return "all that it had done was compensated"
        case _:
            assert_never(event)


def _owed(command: Command, now: float) -> str:
    match command:
        case AwaitAnswer(part, event, types):
            what = " or ".join(types)
            return f"{what}, which never came: {part} has not answered{f' {event}' if event else ''}"
        case AwaitWord(type_):
            return f"{type_}, which never came: somebody outside of it has to say it"
        case AwaitDeadline(at):
            return f"its deadline, {when(at, now)}"
        case _:
            assert_never(command)
