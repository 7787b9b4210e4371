"""Every state of one saga that a walk has seen, with what its own functions say about it.

A walk meets the same saga in very many worlds. So each saga state gets a number, and what the
production functions answer is asked once for each number and checked there and then.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import fields

from finality.core.ids import Json
from finality.core.protocol import fold
from finality.core.saga import Graph, SagaState, Status, advance, decide, evolve, new_state, outstanding
from finality.core.saga import events as e
from finality.core.saga.state import STUCK, TO_UNDO
from finality.core.saga.summary import NEVER, summary_of

Events = tuple[e.SagaEvent, ...]
NEW = 0

# Commands that a node has to act on at once, as opposed to those that wait for somebody.
AT_ONCE = (e.StartWait, e.CountItems, e.StartChild, e.FindAnswer)


class Sagas:
    """The states of sagas of *graph*, numbered in the order in which they were first seen."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.states: list[SagaState] = []
        self.commands: list[tuple[e.SagaCommand, ...]] = []
        self.statuses: list[dict[str, Status]] = []
        self.came_from: list[tuple[int, Events]] = []
        self._number_of: dict[Hashable, int] = {}
        self._answers: dict[tuple[int, e.SagaSignal], tuple[Events, int]] = {}
        self._number(new_state(graph), NEW, ())

    def tell(self, saga: int, signal: e.SagaSignal) -> tuple[Events, int]:
        """Return what *signal* makes true of *saga*, and the number of the state it leads to."""
        answer = self._answers.get((saga, signal))
        if answer is None:
            state = self.states[saga]
            events, after = advance(state, signal)
            assert decide(state, signal) == events, f"{signal} is decided in two ways"
            assert decide(after, signal) == (), f"{signal} is heard twice: {decide(after, signal)}"
            assert fold(evolve, state, events) == after, f"{signal}: what is recorded is not what is known"
            if not events:
                assert after == state, f"{signal} changes what is known and records nothing"
            answer = events, self._number(after, saga, events)
            self._answers[saga, signal] = answer
        return answer

    def record(self, saga: int, event: e.SagaEvent) -> int:
        """Return the number of the state after *event*, which the node records by itself."""
        return self._number(evolve(self.states[saga], event), saga, (event,))

    def story(self, saga: int) -> Events:
        """Return events that lead to *saga*, oldest first."""
        events: Events = ()
        while saga != NEW:
            saga, before = self.came_from[saga]
            events = before + events
        return events

    def _number(self, state: SagaState, source: int, events: Events) -> int:
        key = _key(state)
        number = self._number_of.get(key)
        if number is None:
            number = self._number_of[key] = len(self.states)
            self.states.append(state)
            self.came_from.append((source, events))
            self.commands.append(outstanding(state))
            self.statuses.append({name: branch.status for name, branch in state.branches.items()})
            if number:
                check_what_is_owed(
                    state, outstanding(fold(evolve, new_state(self.graph), self.story(number)))
                )
        return number


def _key(state: SagaState) -> Hashable:
    return tuple(_frozen(getattr(state, each.name)) for each in fields(state) if each.name != "graph")


def _frozen(value: object) -> Hashable:
    if isinstance(value, dict):
        return frozenset(value.items())
    assert isinstance(value, Hashable), value
    return value


def check_what_is_owed(state: SagaState, again: tuple[e.SagaCommand, ...]) -> None:
    """Check *state*'s commands and its summary; *again* are the commands of the same state, refolded."""
    commands = outstanding(state)

    assert commands == again, f"two nodes owe different things: {commands} and {again}"
    assert len(set(commands)) == len(commands), f"something is owed twice: {commands}"
    assert bool(commands) != state.has_ended, f"{state.phase} owes {commands}"
    for command in commands:
        if isinstance(command, e.Compensate):
            status = state.branches[command.step].status
            assert status in TO_UNDO, f"{command.step} is compensated although it is {status}"
    asks_person = any(isinstance(command, e.AskPerson) for command in commands)
    is_stuck = any(branch.status in STUCK for branch in state.branches.values())
    if not state.has_ended:
        # A branch of an ended saga cannot be stuck; one in the middle shows until someone acts.
        assert asks_person == (is_stuck or state.parked is not None), f"{commands} in {state}"
    check_summary(state, commands)


def check_summary(state: SagaState, commands: tuple[e.SagaCommand, ...]) -> None:
    """Check that the line kept beside the stream says what the stream says."""
    summary = summary_of(state, commands)
    is_due = any(
        (isinstance(command, AT_ONCE) and not getattr(command, "not_before", 0.0))
        or (isinstance(command, e.Run | e.Compensate) and not command.not_before)
        for command in commands
    )

    assert summary.has_ended == state.has_ended, f"{summary} of {state.phase}"
    if state.has_ended:
        assert summary.status == state.phase.value, f"{summary} of {state.phase}"
        assert summary.wake_at is None, f"{summary} of {state.phase}"
        return
    assert (summary.wake_at is None) == is_due, f"{summary} although {commands} are owed"
    if summary.status in ("stuck", "parked"):
        assert any(isinstance(command, e.AskPerson) for command in commands), f"{summary} of {commands}"
    if summary.wake_at is not None:
        assert 0 < summary.wake_at <= NEVER, f"{summary} of {commands}"


def json_of(branch: str) -> Json:
    """Return the result that *branch* yields, the same at every attempt."""
    return Json(f'"{branch}"')
