"""Every state of one transaction that a walk has seen, with what its own functions say about it.

A walk meets the same state in very many worlds. So each gets a number, and what the production
functions answer is asked once for each number and checked there and then.
"""

from __future__ import annotations

from collections.abc import Hashable

from finality.core import two_phase as core
from finality.core.protocol import fold
from finality.core.two_phase import Decision, TwoPhaseCommand, TwoPhaseEvent, TwoPhaseSignal, TwoPhaseState

Events = tuple[TwoPhaseEvent, ...]
NEW = 0


class Transactions:
    """The states of a transaction, numbered in the order in which they were first seen."""

    def __init__(self) -> None:
        self.states: list[TwoPhaseState] = []
        self.commands: list[tuple[TwoPhaseCommand, ...]] = []
        self.stories: list[Events] = []
        self.plans: list[Events] = []
        self._plan_of: dict[Events, int] = {}
        self._number_of: dict[Hashable, int] = {}
        self._answers: dict[tuple[int, TwoPhaseSignal], Events] = {}
        self._after: dict[tuple[int, Events], int] = {}
        self._number(core.NEW, ())

    def tell(self, at: int, signal: TwoPhaseSignal) -> Events:
        """Return what *signal* makes true of state *at*."""
        events = self._answers.get((at, signal))
        if events is None:
            state = self.states[at]
            events = core.decide(state, signal)
            again = core.decide(fold(core.evolve, state, events), signal)
            assert again == (), f"{signal} is heard twice: {again}"
            self._answers[at, signal] = events
        return events

    def record(self, at: int, events: Events) -> int:
        """Return the number of the state after *events*."""
        after = self._after.get((at, events))
        if after is None:
            before = self.states[at]
            state = fold(core.evolve, before, events)
            if before.decision is not None:
                assert state.decision is before.decision, f"{before.decision} has become {state.decision}"
            if state.diverged and not any(isinstance(event, core.Accepted) for event in events):
                is_older = state.diverged == before.diverged and before.is_accepted
                assert is_older or not state.has_ended, f"nobody is asked about {state.diverged}"
            after = self._after[at, events] = self._number(state, self.stories[at] + events)
        return after

    def plan(self, events: Events) -> int:
        """Return the number of *events*, which somebody is about to write: a world is hashed often."""
        if events not in self._plan_of:
            self._plan_of[events] = len(self.plans)
            self.plans.append(events)
        return self._plan_of[events]

    def durable(self, events: Events) -> Events:
        """Return those of *events* that the journal keeps."""
        return tuple(event for event in events if core.is_durable(event))

    def decision(self, at: int) -> Decision | None:
        """Return what is decided in state *at*."""
        return self.states[at].decision

    def _number(self, state: TwoPhaseState, story: Events) -> int:
        key = (frozenset(state.branches.items()), state.is_voting, state.decision, state.is_accepted)
        number = self._number_of.get(key)
        if number is None:
            number = self._number_of[key] = len(self.states)
            self.states.append(state)
            self.stories.append(story)
            self.commands.append(core.outstanding(state))
            check_what_is_owed(state)
        return number


def check_what_is_owed(state: TwoPhaseState) -> None:
    """Check that *state* owes something until it has ended, and nothing twice."""
    commands = core.outstanding(state)

    assert len(set(commands)) == len(commands), f"something is owed twice: {commands}"
    if state.decision is not None:
        assert bool(commands) != state.has_ended, f"{state} owes {commands}"
    for command in commands:
        if isinstance(command, core.FinishBranch):
            assert command.decision is state.decision, f"{command} although it is {state.decision}"
