"""A two-phase transaction in plain sentences: what was decided, who has not heard it, what you can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import quote
from typing import assert_never

from finality.core.explain import Explanation
from finality.core.ids import TRANSACTION_PREFIX
from finality.core.protocol import Recorded, fold
from finality.core.sentences import ago, shortened
from finality.core.two_phase import (
    KIND,
    NEW,
    Accepted,
    AskPerson,
    BranchFinished,
    Decided,
    Decision,
    DurableEvent,
    FinishBranch,
    TwoPhaseCommand,
    TwoPhaseState,
    evolve,
    outstanding,
    summary_of,
)

PAST = {Decision.COMMIT: "committed", Decision.ABORT: "aborted"}


def explain_decided(
    recorded: Sequence[Recorded], *, now: float, held: Mapping[str, str] | None = None
) -> Explanation:
    """Explain the decided transaction whose stream is *recorded*.

    Args:
        now: Seconds since the Unix epoch.
        held: What each branch that is still in doubt holds, and for how long, by its name.
    """
    id = recorded[0].stream.removeprefix(TRANSACTION_PREFIX)
    state = fold(evolve, NEW, [item.event for item in recorded])
    happened = tuple(f"{ago(now - item.at)}: {_sentence(item.event, item.by)}" for item in recorded)
    waits_for = tuple(_owed(state, command, held or {}) for command in outstanding(state))
    headline = f"{KIND} transaction {id} is {summary_of(state).status}"
    return Explanation(headline, happened, waits_for, tuple(_choices(state, id)))


def explain_undecided(id: str, held: Mapping[str, str]) -> Explanation:
    """Explain a transaction that has branches in doubt and no decision: *held*, by their names."""
    waits_for = (
        *(f"branch {name}: the decision; it {holds}" for name, holds in held.items()),
        "a node with these participants to sweep: it aborts what its coordinator has left undecided",
    )
    choices = tuple(
        f"decide it yourself: `finality transaction resolve {quote(id)} {decision.value} "
        '--because "…"`, if you know what the others have done'
        for decision in Decision
    )
    return Explanation(f"{KIND} transaction {id} is in doubt and not decided", (), waits_for, choices)


def _sentence(event: DurableEvent, by: str) -> str:
    match event:
        case Decided(decision, branches, because, person):
            told = f"it was decided to {decision.value}"
            if branches:
                told += f" {', '.join(branches)}"
            return f"{told}{f': {shortened(because)}' if because else ''} ({person or by})"
        case BranchFinished(branch, did):
            return f"branch {branch} was {PAST[did]} ({by})"
        case Accepted(person, because):
            return f"what was finished by hand was accepted: {shortened(because)} ({person})"
        case _:
            assert_never(event)


def _owed(state: TwoPhaseState, command: TwoPhaseCommand, held: Mapping[str, str]) -> str:
    match command:
        case FinishBranch(branch, decision):
            holds = f"; it {held[branch]}" if branch in held else ""
            return f"branch {branch} to hear that it must {decision.value}{holds}"
        case AskPerson(branches):
            each = ", ".join(f"{name}: {did}" for name, did in state.did.items())
            return f"a person: {', '.join(branches)} was finished by hand against the decision ({each})"
        case _:
            raise AssertionError(f"a decided transaction owes no {command}")


def _choices(state: TwoPhaseState, id: str) -> list[str]:
    assert state.decision is not None, "only what is decided has a stream"
    if state.unfinished:
        names = ", ".join(state.unfinished)
        return [
            f"see that {names} can be reached and that a node with it runs; never finish a branch by hand"
        ]
    if state.diverged and not state.is_accepted:
        command = f'`finality transaction resolve {quote(id)} {state.decision.value} --because "…"`'
        return [f"put the data right at {', '.join(state.diverged)}, then say so: {command}"]
    return []
