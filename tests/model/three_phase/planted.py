"""Known mistakes, planted into three-phase commit: the walk must catch every one of them.

python -m tests.model.three_phase.planted         prints their table of docs/internals/planted-bugs.md
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from finality.core.three_phase import agent, coordinator
from finality.core.two_phase import Decision
from finality.testing.walk import Counterexample
from tests.model.three_phase.promises import walked
from tests.model.three_phase.world import Rules

Patch = pytest.MonkeyPatch


def who_was_away_takes_part(patch: Patch) -> None:
    """An agent that comes back goes on as if it had not been away."""
    real = agent.decide

    def decide(state: agent.AgentState, signal: agent.AgentSignal) -> tuple[agent.AgentEvent, ...]:
        return () if isinstance(signal, agent.ComeBack) else real(state, signal)

    patch.setattr(agent, "decide", decide)


def old_terms_are_obeyed(patch: Patch) -> None:
    """An agent obeys a pre-commit of one whose term is over."""
    real = agent._pre_commit

    def pre_commit(state: agent.AgentState, term: int) -> tuple[agent.AgentEvent, ...]:
        return real(state, max(term, state.term))

    patch.setattr(agent, "_pre_commit", pre_commit)


def no_pre_commit(patch: Patch) -> None:
    """The coordinator commits as soon as all have voted yes: two phases, and nobody who waits."""
    real = coordinator._vote

    def vote(state: coordinator.CoordinatorState, *said: Any) -> tuple[coordinator.CoordinatorEvent, ...]:
        events = real(state, *said)
        is_all = any(isinstance(event, coordinator.PreCommitting) for event in events)
        return (*events, coordinator.Ended(Decision.COMMIT)) if is_all else events

    patch.setattr(coordinator, "_vote", vote)


def some_are_enough(patch: Patch) -> None:
    """Agents that were all away decide before the last of them is back."""
    real = agent._together

    def together(state: agent.AgentState) -> tuple[agent.AgentEvent, ...]:
        known = tuple(name for name in state.line if name == state.me or name in state.reports)
        return real(replace(state, line=known))

    patch.setattr(agent, "_together", together)


PLANTED: list[Callable[[Patch], None]] = [
    no_pre_commit,
    old_terms_are_obeyed,
    who_was_away_takes_part,
    some_are_enough,
]


def row(plant: Callable[[Patch], None]) -> str:
    """Return the mistake's row of the table."""
    assert plant.__doc__ is not None, f"{plant} says nothing"
    sentence = plant.__doc__.removesuffix(".")
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        try:
            walked(Rules(2, crashes=3, has_voted=plant is not no_pre_commit))
        except Counterexample as found:
            return f"| {sentence} | {'; '.join(found.trace)} | {found.broken} |"
    return f"| {sentence} | – | – |"


def main() -> None:
    """Print the table of docs/internals/planted-bugs.md."""
    print("| planted mistake | the shortest way to its harm | what is seen there |")
    print("| --- | --- | --- |")
    for plant in PLANTED:
        print(row(plant), flush=True)


if __name__ == "__main__":
    main()
