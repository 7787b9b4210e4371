"""A transaction in plain sentences: what happened, what it waits for, what you can do.

What happened is read from its stream, an event a sentence. What it waits for is `outstanding` of
the same stream, so an explanation cannot disagree with what the nodes do: there is no second model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from shlex import quote
from typing import assert_never

from finality.core.ids import TRANSACTION_PREFIX
from finality.core.protocol import Recorded
from finality.core.saga import events as e
from finality.core.saga.decide import outstanding
from finality.core.saga.graph import Graph
from finality.core.saga.replay import UnknownStep, rename, replay
from finality.core.saga.state import Phase, SagaState, evolve, new_state
from finality.core.saga.summary import summary_of
from finality.core.sentences import ago, sentence_of, shortened, when


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a person wants to know of a transaction at three in the morning.

    Attributes:
        headline: Its name, its status, and which node drives it.
        happened: A sentence for each event, oldest first.
        waits_for: A sentence for each outstanding command; empty once it has ended.
        you_can: What a person can do now, with the exact command.
    """

    headline: str
    happened: tuple[str, ...]
    waits_for: tuple[str, ...]
    you_can: tuple[str, ...]

    def __str__(self) -> str:
        parts = [
            self.headline,
            *_section("What happened", self.happened),
            *_section("What it waits for", self.waits_for),
            *_section("What you can do", self.you_can),
        ]
        return "\n".join(parts)


def explain(
    recorded: Sequence[Recorded],
    graph: Graph,
    *,
    now: float,
    driver: str | None,
    note: str | None = None,
) -> Explanation:
    """Explain the transaction whose stream is *recorded*, or the beginning of it.

    Args:
        recorded: Its events, oldest first.
        graph: The definition that it runs under.
        now: Seconds since the Unix epoch; all times are told relative to it.
        driver: The node that drives it now, if one does.
        note: Why no node drives it, or what else there is to know of that.
    """
    stream = recorded[0].stream if recorded else ""
    transaction = stream.removeprefix(TRANSACTION_PREFIX)
    happened = tuple(
        f"{ago(now - item.at)}: {sentence_of(item.event, item.by, item.at)}" for item in recorded
    )
    try:
        state = replay(graph, [item.event for item in recorded])
    except UnknownStep as unknown:
        needs = f"a node that has the definition it was started under: {unknown}"
        headline = f"{graph.saga} {transaction} cannot be read{driven_by(driver, note)}"
        return Explanation(headline, happened, (needs,), ())
    commands = outstanding(state)
    since = _since(recorded, graph, now)
    waits_for = tuple(f"{_owed(command, state, now)}{since.get(_key(command), '')}" for command in commands)
    status = summary_of(state, commands).status if recorded else "not begun"
    driven = "" if state.has_ended else driven_by(driver, note)
    headline = f"{graph.saga} {transaction} is {status}{driven}"
    return Explanation(headline, happened, waits_for, tuple(_choices(state, commands, transaction)))


def _section(title: str, lines: tuple[str, ...]) -> list[str]:
    return ["", title, *(f"  - {line}" for line in lines)] if lines else []


def driven_by(driver: str | None, note: str | None) -> str:
    """Return which node drives an open transaction, or why none does, as the end of a headline."""
    if driver is not None:
        return f"; node {driver} drives it" + (f" ({note})" if note else "")
    return f"; no node drives it: {note or 'nobody holds its lease; a node will take it over'}"


# ── Since when ──────────────────────────────────────────────────────────────────────────────


def _key(command: e.SagaCommand) -> tuple[str, str]:
    return type(command).__name__, getattr(command, "step", "")


def _since(recorded: Sequence[Recorded], graph: Graph, now: float) -> dict[tuple[str, str], str]:
    """Return since when each command has been outstanding without a break."""
    events = [item.event for item in recorded]
    for place, event in enumerate(events):
        if isinstance(event, e.Migrated):
            events[:place] = [rename(earlier, event.renamed) for earlier in events[:place]]
    since: dict[tuple[str, str], float] = {}
    state = new_state(graph)
    for item, event in zip(recorded, events, strict=True):
        state = evolve(state, event)
        since = {key: since.get(key, item.at) for key in map(_key, outstanding(state))}
    return {key: f", since {ago(now - at)}" for key, at in since.items()}


# ── What it waits for ───────────────────────────────────────────────────────────────────────


def _owed(command: e.SagaCommand, state: SagaState, now: float) -> str:
    match command:
        case e.Run(step, attempt, not_before):
            return f"{step} to run, attempt {attempt}{_at(not_before, now)}{_last(state, step)}"
        case e.Compensate(step, attempt, not_before):
            return f"{step} to be compensated, attempt {attempt}{_at(not_before, now)}{_last(state, step)}"
        case e.StartWait(step):
            return f"{step} to start its wait"
        case e.AwaitTime(step, until, signal):
            return _awaited(state, step, until, signal, now)
        case e.CountItems(step, not_before):
            return f"the items of {step} to be counted{_at(not_before, now)}{_last(state, step)}"
        case e.StartChild(step, not_before):
            return f"{step} to start its child{_at(not_before, now)}{_last(state, step)}"
        case e.AwaitChild(step, child):
            return f"{step}: its child {child} to end"
        case e.UndoChild(step, child):
            return f"{step}: its child {child} to be undone"
        case e.FindAnswer(step):
            return f"the answer of {step}, which was asked before the undo began"
        case e.AwaitDeadline(at):
            return f"its deadline {when(at, now)}: it is undone if it has not ended by then"
        case e.AskPerson(because):
            return f"a person: {shortened(because)}"
        case _:
            assert_never(command)


def _at(not_before: float, now: float) -> str:
    return f", {when(not_before, now)}" if not_before > now else ", now"


def _last(state: SagaState, branch: str) -> str:
    known = state.branches.get(branch)
    return f" (last: {shortened(known.because)})" if known is not None and known.because else ""


def _awaited(state: SagaState, step: str, until: float | None, signal: str | None, now: float) -> str:
    wait = state.step_of(step).wait
    latest = "" if until is None else when(until, now)
    if signal is None:
        return f"{step}: the time to come {latest}".rstrip()
    if until is None:
        return f"{step}: the signal {signal!r}, however long it takes"
    default = wait.default if wait is not None else None
    otherwise = "it is refused" if default is None else f"{shortened(default)} stands in for it"
    return f"{step}: the signal {signal!r}; if it has not come {latest}, {otherwise}"


# ── What you can do ─────────────────────────────────────────────────────────────────────────


def _choices(state: SagaState, commands: tuple[e.SagaCommand, ...], transaction: str) -> list[str]:
    def cli(verb: str, arguments: str = "", *, of: str = transaction) -> str:
        return f"`finality transaction {verb} {quote(of)}{arguments}`"

    because = ' --because "…"'
    choices = []
    if any(isinstance(command, e.AskPerson) for command in commands):
        choices.append(f"put right what is wrong, then let it go on: {cli('retry', because)}")
    for command in commands:
        if isinstance(command, e.AwaitTime) and command.signal is not None:
            choices.append(f"send what it waits for: {cli('signal', f' {quote(command.signal)} VALUE')}")
        if isinstance(command, e.AwaitChild | e.UndoChild):
            choices.append(f"look at its child: {cli('explain', of=command.child)}")
    if state.phase is Phase.RUNNING and state.can_be_undone:
        choices.append(f"have it undone: {cli('cancel', because)}")
    elif state.phase is Phase.RUNNING and state.graph.pivot is not None:
        choices.append(
            f"wait; it cannot be cancelled any more, {state.graph.pivot.name} is its point of no return"
        )
    return choices
