"""Random sagas that hear random signals keep their promises, whoever sends what, whenever."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finality.core.backoff import FOREVER, Retry
from finality.core.errors import DefinitionError
from finality.core.ids import Json, TransactionId
from finality.core.protocol import fold
from finality.core.saga import (
    Graph,
    Kind,
    SagaState,
    Status,
    Step,
    Wait,
    advance,
    decide,
    evolve,
    graph_of,
    new_state,
    outstanding,
    summary_of,
)
from finality.core.saga import events as e

NAMES = "abcde"
BRANCHES = (
    *NAMES,
    *(f"{name}[{item}]" for name in NAMES for item in range(3)),
    "x",
    "a[",
    "a[x]",
    "a[01]",
    "",
)
HOW_OFTEN = Retry(attempts=2, jitter=0.0)
SIGNALS_MAX = 60

branches = st.sampled_from(BRANCHES)
attempts = st.integers(1, 3)
times = st.sampled_from([0.0, 5.0, 50.0])
words = st.sampled_from(["yes", "go", "nobody waits for this"])
child = st.just(TransactionId("child"))

signals = st.one_of(
    st.builds(e.Begin, st.just(Json("{}")), times),
    st.builds(e.WaitBegun, branches, times),
    st.builds(e.TimeCame, branches, times),
    st.builds(e.Told, words, st.sampled_from([Json("1"), Json("2")]), st.just("ann")),
    st.builds(e.ItemsCounted, branches, st.integers(0, 3) | st.just(5_000)),
    st.builds(e.ChildBegun, branches, child),
    st.builds(e.AboutToRun, branches, attempts),
    st.builds(e.Succeeded, branches, st.just(Json("1")), attempts),
    st.builds(e.Declined, branches),
    st.builds(e.Failed, branches, attempts, st.just("down"), times, st.just(0.5)),
    st.builds(e.Postponed, branches, times, st.just("open")),
    st.builds(e.RefusedBy, branches, attempts, st.just("no")),
    st.builds(e.AnswerLost, branches),
    st.builds(e.CompensationSucceeded, branches, attempts),
    st.builds(e.CompensationErred, branches, attempts, st.just("down"), times, st.just(0.5), st.booleans()),
    st.builds(e.Cancel, st.just("ann"), st.just("changed her mind")),
    st.builds(e.DeadlineCame, times),
    st.builds(e.RetryAsked, st.just("ann"), st.just("mended")),
    st.builds(e.UndoAsked, st.just("the parent is undone")),
)
# A number stands for the command of that place among those outstanding: the saga is driven on.
sayings = st.lists(signals | st.integers(0, 5), max_size=SIGNALS_MAX)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    steps: list[Step] = []
    pivot = draw(st.none() | st.sampled_from(NAMES))
    for number in range(draw(st.integers(1, len(NAMES)))):
        needs = tuple(step.name for step in steps if draw(st.booleans()))
        steps.append(_step(draw, NAMES[number], needs, is_pivot=NAMES[number] == pivot))
    deadline = draw(st.none() | st.just(10.0))
    try:
        return graph_of("Random", steps, version="1", deadline_seconds=deadline)
    except DefinitionError:
        # What stands behind the pivot has to be of the kind that goes on until it succeeds.
        plain = [Step(step.name, step.needs, step.kind, step.is_local, retry=FOREVER) for step in steps]
        return graph_of("Random", plain, version="1", deadline_seconds=deadline)


def _step(draw: st.DrawFn, name: str, needs: tuple[str, ...], *, is_pivot: bool) -> Step:
    is_local = draw(st.booleans())
    if is_pivot:
        return Step(name, needs, Kind.PIVOT, is_local, retry=HOW_OFTEN)
    is_child = draw(st.integers(0, 4)) == 0
    return Step(
        name,
        needs,
        is_local=is_local,
        has_undo=not is_child and draw(st.booleans()),
        retry=HOW_OFTEN,
        undo_retry=HOW_OFTEN,
        wait=draw(
            st.none() | st.sampled_from([Wait(None, 5.0), Wait("go", 5.0, Json("0")), Wait("yes", None)])
        ),
        each=draw(st.none() | st.just("items")),
        at_once=2,
        is_child=is_child,
    )


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(graphs(), sayings)
def test_whatever_a_saga_hears_it_keeps_its_promises(graph: Graph, heard: list[e.SagaSignal | int]) -> None:
    state = new_state(graph)
    recorded: tuple[e.SagaEvent, ...] = ()
    for said in (e.Begin(Json("{}"), 0.0), *heard):
        signal = _meant(state, said)
        if signal is None:
            continue
        events, after = advance(state, signal)

        assert decide(state, signal) == events
        assert fold(evolve, state, events) == after
        assert decide(after, signal) == (), f"{signal} is heard twice"
        check(state, events, after)
        state = after
        recorded += events

    assert fold(evolve, new_state(graph), recorded) == state


def check(before: SagaState, events: tuple[e.SagaEvent, ...], after: SagaState) -> None:
    commands = outstanding(after)

    assert bool(commands) != after.has_ended
    assert summary_of(after, commands).has_ended == after.has_ended
    if before.has_ended:
        assert events == () or isinstance(events[0], e.UndoStarted)
    for event in events:
        if isinstance(event, e.CompensationDone | e.CompensationFailed):
            check_nothing_stands_on(after, before.step_of(event.step).name)
    for step in after.graph.steps:
        if step.name in after.branches and after.branches[step.name].status is Status.DONE:
            for need in step.after:
                assert after.branches[need].status not in (Status.WAITING, Status.READY, Status.RUNNING)


def check_nothing_stands_on(state: SagaState, name: str) -> None:
    """Check that all which came after the step *name* is undone, or left nothing to undo."""
    for later in state.graph.needed_by[name]:
        step = state.graph.by_name[later]
        for branch, known in state.branches.items():
            if e.split_branch(branch)[0] == later:
                assert known.status is not Status.RUNNING, f"{branch} may yet take effect on {name}"
                if step.is_undoable and not (step.each and branch == later):
                    assert known.status is not Status.DONE, f"{branch} stands on {name}"
        check_nothing_stands_on(state, later)


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(graphs(), sayings)
def test_from_wherever_it_is_a_driven_saga_ends(graph: Graph, heard: list[e.SagaSignal | int]) -> None:
    state = new_state(graph)
    for said in (e.Begin(Json("{}"), 0.0), *heard):
        signal = _meant(state, said)
        state = state if signal is None else _hear(state, signal)
    steps_max = 40 * len(graph.steps) + 40
    for _ in range(steps_max):
        if state.has_ended:
            break
        command = next(c for c in outstanding(state) if not isinstance(c, e.AwaitDeadline))
        after = _hear(state, _obeyed(state, command))

        assert after != state, f"nothing comes of {command}"
        state = after

    assert state.has_ended, f"still {state.phase} after {steps_max} commands"


def _meant(state: SagaState, said: e.SagaSignal | int) -> e.SagaSignal | None:
    if not isinstance(said, int):
        return said
    commands = outstanding(state)
    return _obeyed(state, commands[said % len(commands)]) if commands else None


def _hear(state: SagaState, signal: e.SagaSignal) -> SagaState:
    return advance(state, signal)[1]


def _obeyed(state: SagaState, command: e.SagaCommand) -> e.SagaSignal:
    match command:
        case e.Run(step, attempt):
            return e.Succeeded(step, Json("1"), attempt)
        case e.Compensate(step, attempt):
            return e.CompensationSucceeded(step, attempt)
        case e.StartWait(step):
            return e.WaitBegun(step, 0.0)
        case e.AwaitTime(step, until, signal):
            return e.TimeCame(step, until) if until is not None else e.Told(signal or "", Json("1"), "ann")
        case e.CountItems(step):
            return e.ItemsCounted(step, 2)
        case e.StartChild(step):
            return e.ChildBegun(step, TransactionId("child"))
        case e.AwaitChild(step):
            return e.Succeeded(step, Json("1"), 1)
        case e.UndoChild(step):
            branch = state.branches[step]
            if branch.status is Status.RUNNING:
                return e.RefusedBy(step, 1, "undone")
            return e.CompensationSucceeded(step, branch.undo_attempts + 1)
        case e.FindAnswer(step):
            return e.AnswerLost(step)
        case e.AwaitDeadline(at):
            return e.DeadlineCame(at)
        case e.AskPerson():
            return e.RetryAsked("ann", "mended")
