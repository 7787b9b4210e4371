"""What a saga's state still owes the world: its commands, a function of the journal alone.

Forward, a step is owed as soon as all it comes after is settled. Backward, a step is undone once
nothing that was done after it still stands, so a saga is taken down in the reverse of the order
in which it was built.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from finality.core.saga import events as e
from finality.core.saga.graph import Step
from finality.core.saga.state import (
    ASKED,
    CLEARED,
    DONE,
    RUNNING,
    SETTLED,
    TO_UNDO,
    UNDOING,
    Branch,
    SagaState,
    Status,
)

OWED_MAX = 1_000  # Remembered for a graph; one with many parallel steps has more states than that.


def outstanding(state: SagaState) -> tuple[e.SagaCommand, ...]:
    """Return what the world still owes *state*; it is empty once the saga has ended."""
    if state.phase is RUNNING:
        if state.parked is not None:
            return (e.AskPerson(state.parked),)
        is_between = len(state.branches) == len(state.graph.steps) - state.left
        # The saga's own deadline counts: the definition it was started under may have been another.
        has_deadline = state.started is not None and state.started.deadline is not None
        if is_between and not state.signals and not has_deadline:
            return _between(state)
        return tuple(_forward(state))
    if state.phase is UNDOING:
        return returning(state) if state.parked is None else (e.AskPerson(state.parked),)
    return ()


def _between(state: SagaState) -> tuple[e.SagaCommand, ...]:
    """Return what is owed when every branch that is known is settled: it depends on which those are.

    Most of the states of most sagas are of this kind, so the graph remembers their commands.
    """
    known = state.graph.owed
    settled = tuple(state.branches)
    commands: tuple[e.SagaCommand, ...] | None = known.get(settled)
    if commands is None:
        commands = tuple(_forward(state))
        if len(known) < OWED_MAX:
            known[settled] = commands
    return commands


def returning(state: SagaState) -> tuple[e.SagaCommand, ...]:
    """Return what is owed on the way back: nothing once all that was done is undone.

    While nothing is asked or has failed, it depends on what stands. So the graph remembers these, too.
    """
    standing = []
    for name, branch in state.branches.items():
        status = branch.status
        if status in CLEARED:
            continue
        if status is not DONE or branch.child or branch.items or branch.not_before or branch.undo_attempts:
            return tuple(_backward(state))
        standing.append(name)
    if not standing:
        return ()
    known = state.graph.owed_back
    commands: tuple[e.SagaCommand, ...] | None = known.get(key := tuple(standing))
    if commands is None:
        commands = tuple(_backward(state))
        if len(known) < OWED_MAX:
            known[key] = commands
    return commands


def is_free(state: SagaState, name: str) -> bool:
    """Say whether nothing that comes after the step *name* still stands or may yet answer."""
    graph = state.graph
    behind = graph.behind[name]
    for later, branch in state.branches.items():
        if later not in behind or branch.status in CLEARED:
            continue
        if not _is_cleared(state, graph.by_name[later]):
            return False
    return True


# ── Forward ─────────────────────────────────────────────────────────────────────────────────


def _forward(state: SagaState) -> Iterator[e.SagaCommand]:
    branches = state.branches
    for step in state.graph.steps:
        branch = branches.get(step.name)
        if branch is not None and branch.status in SETTLED:
            continue
        for name in step.after:
            before = branches.get(name)
            if before is None or before.status not in SETTLED:
                break
        else:
            yield from _step_commands(state, step, branch)
    if state.started is not None and state.started.deadline is not None and state.can_be_undone:
        yield e.AwaitDeadline(state.started.deadline)


def _step_commands(state: SagaState, step: Step, branch: Branch | None) -> Iterator[e.SagaCommand]:
    match branch.status if branch else None:
        case None if step.wait is not None and step.wait.signal not in state.signals:
            yield e.StartWait(step.name)
        case Status.WAITING if branch and not (step.wait and step.wait.signal in state.signals):
            yield e.AwaitTime(step.name, branch.not_before, step.wait.signal if step.wait else None)
        case Status.FANNED if branch:
            yield from _item_commands(state, step, branch)
        case status if step.each is not None and status is not Status.STUCK:
            yield e.CountItems(step.name, _not_before(branch))
        case _:
            yield _run(step, step.name, branch)


def _item_commands(state: SagaState, step: Step, fan: Branch) -> Iterator[e.SagaCommand]:
    open_items = 0
    for item in range(fan.items):
        name = e.branch_name(step.name, item)
        branch = state.branches.get(name)
        if branch is not None and branch.status in SETTLED:
            continue
        if branch is not None and branch.status is Status.STUCK:
            yield _run(step, name, branch)  # It waits for a person, so it holds no place.
        elif open_items < step.at_once:
            open_items += 1
            yield _run(step, name, branch)


def _run(step: Step, name: str, branch: Branch | None) -> e.SagaCommand:
    if branch is None:
        return e.StartChild(name) if step.is_child else e.Run(name, 1)
    if branch.status is Status.STUCK:
        return e.AskPerson(f"step {name!r} cannot go on: {branch.because}")
    if branch.child is not None:
        return e.AwaitChild(name, branch.child)
    if step.is_child:
        return e.StartChild(name, _not_before(branch))
    return e.Run(name, branch.attempts + 1, _not_before(branch))


def _not_before(branch: Branch | None) -> float:
    # What a branch that waits has there is the end of its wait, which is over by now.
    if branch is None or branch.status is Status.WAITING:
        return 0.0
    return branch.not_before or 0.0


# ── Backward ────────────────────────────────────────────────────────────────────────────────


def _backward(state: SagaState) -> Iterator[e.SagaCommand]:
    cleared: set[str] = set()
    for step in reversed(state.graph.steps):
        if step.name not in state.branches:
            cleared.add(step.name)  # It never ran, and so nothing ran that comes after it.
            continue
        is_step_free = cleared.issuperset(state.graph.needed_by[step.name])
        is_cleared = True
        in_flight = 0
        for name, branch in _runs(state, step):
            command = _undo_command(step, name, branch)
            if command is None:
                continue
            is_cleared = False
            if branch.status is ASKED:
                in_flight += 1
                yield command
            elif is_step_free and isinstance(command, e.AskPerson):
                yield command  # It waits for a person, so it holds no place.
            elif is_step_free and in_flight < step.at_once:
                in_flight += 1
                yield command
        if is_cleared and is_step_free:
            cleared.add(step.name)


def _runs(state: SagaState, step: Step) -> Iterable[tuple[str, Branch]]:
    branch = state.branches.get(step.name)
    if branch is None:
        return ()
    if step.each is None:
        return ((step.name, branch),)
    names = (e.branch_name(step.name, item) for item in range(branch.items))
    return ((name, state.branches[name]) for name in names if name in state.branches)


def _is_cleared(state: SagaState, step: Step) -> bool:
    """Say whether nothing of the step stands, and nothing of it may yet answer."""
    if step.each is None:  # Most are none: spelled out, as each answer on the way back asks.
        branch = state.branches.get(step.name)
        return branch is None or not _stands(step, branch)
    return not any(_stands(step, branch) for _, branch in _runs(state, step))


def _stands(step: Step, branch: Branch) -> bool:
    status = branch.status
    return status is ASKED or (status in TO_UNDO and step.is_undoable)


def _undo_command(step: Step, name: str, branch: Branch) -> e.SagaCommand | None:
    if branch.status is ASKED:
        return e.FindAnswer(name) if branch.child is None else e.UndoChild(name, branch.child)
    if branch.status not in TO_UNDO or not step.is_undoable:
        return None
    if branch.status is Status.UNDO_STUCK:
        return e.AskPerson(f"the compensation of {name!r} cannot go on: {branch.because}")
    if branch.child is not None:
        return e.UndoChild(name, branch.child)
    return e.Compensate(name, branch.undo_attempts + 1, branch.not_before or 0.0)
