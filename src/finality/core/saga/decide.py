"""What a signal makes true of a saga, and what a saga's state still owes the world.

Every answer to a signal that was heard before, came too late or does not apply is ``()``:
deciding twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from finality.core.protocol import fold
from finality.core.saga import events as e
from finality.core.saga.graph import ITEMS_MAX, Kind, Step
from finality.core.saga.state import (
    OPEN,
    SETTLED,
    STUCK,
    TO_UNDO,
    Branch,
    Phase,
    SagaState,
    Status,
    evolve,
)

Events = tuple[e.SagaEvent, ...]
NOTHING: Events = ()


def decide(state: SagaState, signal: e.SagaSignal) -> Events:
    """Return what *signal* makes true."""
    return advance(state, signal)[0]


def advance(state: SagaState, signal: e.SagaSignal) -> tuple[Events, SagaState]:
    """Return what *signal* makes true, and the state once it is."""
    events = _answer(state, signal)
    if not events:
        return events, state
    after = fold(evolve, state, events)
    if after.phase is Phase.RUNNING and after.left == 0:
        end: e.SagaEvent = e.Completed()
    elif after.phase is Phase.UNDOING and not outstanding(after):
        end = e.Compensated()
    else:
        return events, after
    return (*events, end), evolve(after, end)


def _answer(state: SagaState, signal: e.SagaSignal) -> Events:
    match signal:
        case e.Succeeded(step, result, attempt):
            return (e.StepDone(step, result, attempt),) if _is_awaited(state, step) else NOTHING
        case e.Begin():
            return _begun(state, signal)
        case e.AboutToRun(step, attempt):
            if state.phase is not Phase.RUNNING or not _is_awaited(state, step):
                return NOTHING
            return (e.StepStarted(step, attempt),)
        case e.Failed(step, attempt):
            return _failed(state, signal) if _is_awaited(state, step, attempt) else NOTHING
        case e.RefusedBy(step, attempt, because):
            if not _is_awaited(state, step, attempt):
                return NOTHING
            return _refused(state, step, attempt, because)
        case e.Declined(step):
            if state.phase is not Phase.RUNNING or not _is_awaited(state, step):
                return NOTHING
            return (e.StepSkipped(step),)
        case e.Postponed(step, until, because):
            return _postponed(state, step, until, because)
        case e.AnswerLost(step):
            return _lost(state, step)
        case e.CompensationSucceeded(step, attempt):
            return (e.CompensationDone(step, attempt),) if _is_to_undo(state, step, attempt) else NOTHING
        case e.CompensationErred(step, attempt):
            return _compensation_failed(state, signal) if _is_to_undo(state, step, attempt) else NOTHING
        case e.Cancel(by, because):
            return _turn_back(state, because, e.Reason.CANCELLED, by)
        case e.DeadlineCame(now):
            deadline = state.started.deadline if state.started else None
            if deadline is None or now < deadline:
                return NOTHING
            return _turn_back(state, "the deadline passed", e.Reason.DEADLINE)
        case e.UndoAsked(because):
            return _undo_asked(state, because)
        case e.RetryAsked(by, because):
            return (e.Retried(by, because),) if state.parked or state.stuck else NOTHING
        case e.WaitBegun(step, now):
            return _wait_begun(state, step, now)
        case e.TimeCame(step, now):
            return _time_came(state, step, now)
        case e.Told(name, value, by):
            is_new = state.phase is Phase.RUNNING and name not in state.signals
            is_known = any(s.wait is not None and s.wait.signal == name for s in state.graph.steps)
            return (e.SignalReceived(name, value, by),) if is_new and is_known else NOTHING
        case e.ItemsCounted(step, items):
            return _counted(state, step, items)
        case e.ChildBegun(step, child):
            if state.phase is not Phase.RUNNING or not _is_unasked(state, step):
                return NOTHING
            return (e.ChildStarted(step, child),)
        case _:
            assert_never(signal)


# ── Forward ─────────────────────────────────────────────────────────────────────────────────


def _begun(state: SagaState, begin: e.Begin) -> Events:
    if state.phase is not Phase.NEW:
        return NOTHING
    graph = state.graph
    deadline = None if graph.deadline_seconds is None else begin.now + graph.deadline_seconds
    return (e.Started(graph.saga, graph.version, begin.input, deadline, begin.parent, begin.parent_step),)


def _is_awaited(state: SagaState, name: str, attempt: int | None = None) -> bool:
    """Say whether an answer from branch *name* still counts, for *attempt* if one is given.

    Once the undo has begun only a step that was asked before may still answer: a local step
    whose answer does not count is undone by its own store, so it never happened.
    """
    branch = state.branches.get(name)
    if state.phase is Phase.UNDOING:
        return branch is not None and branch.status is Status.RUNNING
    if state.phase is not Phase.RUNNING:
        return False
    if branch is None:
        return True
    if branch.status not in OPEN:
        return False
    if attempt is None:
        return True
    return attempt > branch.attempts or (branch.status is Status.RUNNING and attempt == branch.attempts)


def _is_unasked(state: SagaState, name: str) -> bool:
    branch = state.branches.get(name)
    return branch is None or branch.status in (Status.WAITING, Status.READY)


def _failed(state: SagaState, failed: e.Failed) -> Events:
    step = state.step_of(failed.step)
    if state.phase is Phase.UNDOING:
        return (e.StepFailed(failed.step, failed.attempt, failed.because, None),)
    branch = state.branches.get(failed.step)
    counted = failed.attempt - (branch.forgiven if branch else 0)
    if not step.retry.is_exhausted(counted):
        retry_at = failed.now + step.retry.delay_seconds(counted, failed.chance)
        return (e.StepFailed(failed.step, failed.attempt, failed.because, retry_at),)
    last = e.StepFailed(failed.step, failed.attempt, failed.because, None)
    if step.kind is Kind.PIVOT and not step.is_local:
        # The point of no return may lie behind us, so neither way is safe to take alone.
        because = f"nobody knows whether it took effect: {failed.because}"
        return last, e.BecameStuck(failed.step, because)
    return last, e.UndoStarted(failed.because, e.Reason.FAILED, failed.step)


def _refused(state: SagaState, name: str, attempt: int, because: str) -> Events:
    if state.step_of(name).kind is Kind.RETRIABLE:
        return (e.BecameStuck(name, because),)
    refused = e.StepRefused(name, attempt, because)
    if state.phase is Phase.UNDOING:
        return (refused,)
    return refused, e.UndoStarted(because, e.Reason.REFUSED, name)


def _postponed(state: SagaState, name: str, until: float, because: str) -> Events:
    branch = state.branches.get(name)
    if state.has_ended or (branch is not None and (branch.not_before or 0.0) >= until):
        return NOTHING
    is_due = branch is None or branch.status in OPEN or branch.status in TO_UNDO
    return (e.StepPostponed(name, until, because),) if is_due else NOTHING


def _wait_begun(state: SagaState, name: str, now: float) -> Events:
    wait = state.graph.by_name[name].wait
    if wait is None or state.phase is not Phase.RUNNING or name in state.branches:
        return NOTHING
    return (e.WaitStarted(name, None if wait.seconds is None else now + wait.seconds),)


def _time_came(state: SagaState, name: str, now: float) -> Events:
    branch, wait = state.branches.get(name), state.graph.by_name[name].wait
    if wait is None or branch is None or branch.status is not Status.WAITING:
        return NOTHING
    if state.phase is not Phase.RUNNING or branch.not_before is None or now < branch.not_before:
        return NOTHING
    if wait.signal is None:
        return (e.WaitEnded(name),)
    if wait.signal in state.signals:
        return NOTHING
    if wait.default is not None:
        return (e.WaitEnded(name, wait.default),)
    return _refused(state, name, 0, f"signal {wait.signal!r} did not come in time")


def _counted(state: SagaState, name: str, items: int) -> Events:
    if state.phase is not Phase.RUNNING or not _is_unasked(state, name):
        return NOTHING
    if items > ITEMS_MAX:
        return _refused(state, name, 0, f"its list has {items} items and {ITEMS_MAX} is the most; split it")
    return (e.FanOutStarted(name, items),)


# ── Backward ────────────────────────────────────────────────────────────────────────────────


def _turn_back(state: SagaState, because: str, reason: e.Reason, by: str | None = None) -> Events:
    if state.phase is not Phase.RUNNING or not state.can_be_undone:
        return NOTHING
    return (e.UndoStarted(because, reason, by=by),)


def _undo_asked(state: SagaState, because: str) -> Events:
    is_child = state.started is not None and state.started.parent is not None
    if state.phase is Phase.COMPLETED and is_child and state.graph.pivot is None:
        return (e.UndoStarted(because, e.Reason.PARENT),)
    return _turn_back(state, because, e.Reason.PARENT)


def _lost(state: SagaState, name: str) -> Events:
    branch = state.branches.get(name)
    if state.phase is not Phase.UNDOING or branch is None or branch.status is not Status.RUNNING:
        return NOTHING
    return (e.StepLost(name, "it was asked by a node that is gone"),)


def _is_to_undo(state: SagaState, name: str, attempt: int) -> bool:
    branch = state.branches.get(name)
    return (
        state.phase is Phase.UNDOING
        and branch is not None
        and branch.status in TO_UNDO
        and attempt > branch.undo_attempts
    )


def _compensation_failed(state: SagaState, erred: e.CompensationErred) -> Events:
    retry = state.step_of(erred.step).undo_retry
    counted = erred.attempt - state.branches[erred.step].forgiven
    if not erred.is_final and not retry.is_exhausted(counted):
        retry_at = erred.now + retry.delay_seconds(counted, erred.chance)
        return (e.CompensationFailed(erred.step, erred.attempt, erred.because, retry_at),)
    return (
        e.CompensationFailed(erred.step, erred.attempt, erred.because, None),
        e.BecameStuck(erred.step, erred.because),
    )


# ── What is owed ────────────────────────────────────────────────────────────────────────────


def outstanding(state: SagaState) -> tuple[e.SagaCommand, ...]:
    """Return what the world still owes *state*, computed from the journal alone."""
    if state.parked is not None:
        return (e.AskPerson(state.parked),)
    if state.phase is Phase.RUNNING:
        return tuple(_forward(state))
    if state.phase is Phase.UNDOING:
        return tuple(_backward(state))
    return ()


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
        case Status.RUNNING if branch and branch.child is not None:
            yield e.AwaitChild(step.name, branch.child)
        case Status.STUCK if branch:
            yield e.AskPerson(f"step {step.name!r} cannot go on: {branch.because}")
        case _ if step.each is not None:
            yield e.CountItems(step.name)
        case _ if step.is_child:
            yield e.StartChild(step.name)
        case _:
            yield _run(step.name, branch)


def _run(name: str, branch: Branch | None) -> e.Run:
    if branch is None:
        return e.Run(name, 1)
    is_timed = branch.status in (Status.FAILED, Status.READY)
    return e.Run(name, branch.attempts + 1, (branch.not_before or 0.0) if is_timed else 0.0)


def _item_commands(state: SagaState, step: Step, fan: Branch) -> Iterator[e.SagaCommand]:
    open_items = 0
    for item in range(fan.items):
        name = e.branch_name(step.name, item)
        branch = state.branches.get(name)
        if branch is not None and branch.status in SETTLED:
            continue
        if branch is not None and branch.status is Status.STUCK:
            yield e.AskPerson(f"step {name!r} cannot go on: {branch.because}")
        elif open_items < step.at_once:
            open_items += 1
            yield _run(name, branch)


def _backward(state: SagaState) -> Iterator[e.SagaCommand]:
    cleared: set[str] = set()
    for step in reversed(state.graph.steps):
        is_free = all(name in cleared for name in state.graph.needed_by[step.name])
        is_cleared = True
        in_flight = 0
        for name, branch in _runs(state, step):
            command = _undo_command(step, name, branch)
            if command is None:
                continue
            is_cleared = False
            is_answer = branch.status is Status.RUNNING
            if is_answer or (is_free and in_flight < step.at_once):
                in_flight += 1
                yield command
        if is_cleared and is_free:
            cleared.add(step.name)


def _runs(state: SagaState, step: Step) -> Iterator[tuple[str, Branch]]:
    branch = state.branches.get(step.name)
    if branch is None:
        return
    if step.each is None:
        yield step.name, branch
        return
    for item in range(branch.items):
        name = e.branch_name(step.name, item)
        if name in state.branches:
            yield name, state.branches[name]


def _undo_command(step: Step, name: str, branch: Branch) -> e.SagaCommand | None:
    if branch.status is Status.RUNNING:
        return e.FindAnswer(name) if branch.child is None else e.UndoChild(name, branch.child)
    if branch.status not in TO_UNDO or not step.is_undoable:
        return None
    if branch.status is Status.UNDO_STUCK:
        return e.AskPerson(f"the compensation of {name!r} cannot go on: {branch.because}")
    if branch.child is not None:
        return e.UndoChild(name, branch.child)
    return e.Compensate(name, branch.undo_attempts + 1, branch.not_before or 0.0)


def is_stuck(state: SagaState) -> bool:
    """Say whether a person is needed before the saga can end."""
    return any(branch.status in STUCK for branch in state.branches.values())
