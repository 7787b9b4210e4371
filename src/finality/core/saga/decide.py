"""What a signal makes true of a saga, and what a saga's state still owes the world.

Every answer to a signal that was heard before, came too late or does not apply is ``()``:
deciding twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_never

from finality.core.saga import events as e
from finality.core.saga.graph import ITEMS_MAX, Graph, Kind, Step
from finality.core.saga.owed import is_free, outstanding, returning
from finality.core.saga.state import (
    COMPLETED,
    NEW,
    OPEN,
    RUNNING,
    SETTLED,
    TO_UNDO,
    UNDOING,
    SagaState,
    Status,
    evolve,
)

__all__ = ["advance", "begun", "decide", "outstanding"]

Events = tuple[e.SagaEvent, ...]
NOTHING: Events = ()
RETRIABLE, REFUSED = Kind.RETRIABLE, e.Reason.REFUSED  # Bound to names, as the phases are.


def decide(state: SagaState, signal: e.SagaSignal) -> Events:
    """Return what *signal* makes true."""
    return advance(state, signal)[0]


def advance(state: SagaState, signal: e.SagaSignal) -> tuple[Events, SagaState]:
    """Return what *signal* makes true, and the state once it is."""
    events = _answer(state, signal)
    if not events:
        return events, state
    after = state
    for event in events:  # fold(), spelled out: every event of every saga passes here.
        after = evolve(after, event)
    if after.phase is RUNNING and after.left == 0:
        end: e.SagaEvent = e.Completed()
    elif after.phase is UNDOING and not returning(after):
        end = e.Compensated()
    else:
        return events, after
    return (*events, end), evolve(after, end)


def begun(graph: Graph, begin: e.Begin) -> tuple[Events, SagaState]:
    """Return what begins a saga, and its state then: ``advance`` of a new one, without what cannot be."""
    started = _started(graph, begin)
    return (started,), SagaState(graph, RUNNING, len(graph.steps), {}, {}, started)


def _answer(state: SagaState, signal: e.SagaSignal) -> Events:
    answer = OFTEN.get(type(signal))
    if answer is not None:
        return answer(state, signal)
    match signal:
        case e.Begin() | e.Succeeded() | e.RefusedBy() | e.CompensationSucceeded():
            raise AssertionError(f"{signal} is heard often")
        case e.AboutToRun(step, attempt):
            is_next = _is_awaited(state, step, attempt) and _is_new(state, step, attempt)
            return (e.StepStarted(step, attempt),) if is_next else NOTHING
        case e.Failed(step, attempt):
            # A child that has begun does not fail: it ends, done or undone.
            is_failure = _is_awaited(state, step, attempt) and not _is_child_begun(state, step)
            return _failed(state, signal) if is_failure else NOTHING
        case e.Declined(step):
            return (e.StepSkipped(step),) if _can_be_skipped(state, step) else NOTHING
        case e.Postponed(step, until, because):
            return _postponed(state, step, until, because)
        case e.AnswerLost(step):
            return _lost(state, step)
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
            needs_person = not state.has_ended and (state.parked is not None or state.stuck)
            return (e.Retried(by, because),) if needs_person else NOTHING
        case e.WaitBegun(step, now):
            return _wait_begun(state, step, now)
        case e.TimeCame(step, now):
            return _time_came(state, step, now)
        case e.Told(name, value, by):
            is_new = state.phase is RUNNING and name not in state.signals
            is_known = any(s.wait is not None and s.wait.signal == name for s in state.graph.steps)
            return (e.SignalReceived(name, value, by),) if is_new and is_known else NOTHING
        case e.ItemsCounted(step, items):
            return _counted(state, step, items)
        case e.ChildBegun(step, child):
            is_next = _can_begin(state, step) and state.step_of(step).is_child and not _is_list(state, step)
            return (e.ChildStarted(step, child),) if is_next else NOTHING
        case _:
            assert_never(signal)


# ── Forward ─────────────────────────────────────────────────────────────────────────────────


def _begun(state: SagaState, begin: e.Begin) -> Events:
    return (_started(state.graph, begin),) if state.phase is NEW else NOTHING


def _started(graph: Graph, begin: e.Begin) -> e.Started:
    deadline = None if graph.deadline_seconds is None else begin.now + graph.deadline_seconds
    parent, step, span = begin.parent, begin.parent_step, begin.traceparent
    return e.Started(graph.saga, graph.version, begin.input, deadline, parent, step, span)


def _succeeded(state: SagaState, succeeded: e.Succeeded) -> Events:
    name = succeeded.step
    if name in state.graph.plain and name not in state.branches and state.phase is RUNNING:
        is_answer = _are_needs_settled(state, state.graph.by_name[name])
    else:
        is_answer = _is_awaited(state, name) and _has_an_answer(state, name)
    return (e.StepDone(name, succeeded.result, succeeded.attempt),) if is_answer else NOTHING


def _is_awaited(state: SagaState, name: str, attempt: int | None = None) -> bool:
    """Say whether an answer from branch *name* still counts, for *attempt* if one is given.

    Once the undo has begun only a step that was asked before may still answer: a local step
    whose answer does not count is undone by its own store, so it never happened.
    """
    branch = state.branches.get(name)
    if state.phase is UNDOING:
        is_asked = branch is not None and branch.status is Status.RUNNING
        return is_asked and (attempt is None or branch is None or attempt >= branch.attempts)
    if state.phase is not RUNNING:
        return False
    if branch is None:
        return _is_due(state, name)
    if branch.status not in OPEN:
        return False
    if attempt is None:
        return True
    if branch.status is Status.STUCK:
        return False  # The attempt that it is stuck at was counted; the next is a person's to ask for.
    return attempt > branch.attempts or (branch.status is Status.RUNNING and attempt == branch.attempts)


def _is_due(state: SagaState, name: str) -> bool:
    """Say whether a branch of which nothing is known yet may run: signals come from anywhere."""
    step = state.graph.by_name.get(name)
    if step is not None:
        return _are_needs_settled(state, step)
    step_name, item = e.split_branch(name)
    fan = state.branches.get(step_name)
    is_item = item is not None and fan is not None and fan.status is Status.FANNED and item < fan.items
    return is_item and name == e.branch_name(step_name, item or 0)


def _are_needs_settled(state: SagaState, step: Step) -> bool:
    for name in step.after:
        before = state.branches.get(name)
        if before is None or before.status not in SETTLED:
            return False
    return True


def _has_an_answer(state: SagaState, name: str) -> bool:
    """Say whether branch *name* answers itself: a list's items do, a child once it has begun."""
    step = state.step_of(name)
    if not _is_wait_over(state, name):
        return False
    if step.each is not None and _is_list(state, name):
        return False
    return not step.is_child or _is_child_begun(state, name)


def _is_wait_over(state: SagaState, name: str) -> bool:
    """Say whether branch *name* may act: it may be skipped or refused before, but no more."""
    wait = state.step_of(name).wait
    branch = state.branches.get(name)
    if wait is None or (branch is not None and branch.status is not Status.WAITING):
        return True
    return wait.signal in state.signals or name not in state.graph.by_name


def _is_list(state: SagaState, name: str) -> bool:
    step = state.graph.by_name.get(name)
    return step is not None and step.each is not None


def _is_child_begun(state: SagaState, name: str) -> bool:
    branch = state.branches.get(name)
    return branch is not None and branch.child is not None


def _is_new(state: SagaState, name: str, attempt: int) -> bool:
    """Say whether *attempt* is one that branch *name*, which runs code, was not asked for before."""
    if state.phase is not RUNNING or not _is_wait_over(state, name):
        return False
    if _is_list(state, name) or state.step_of(name).is_child:
        return False
    branch = state.branches.get(name)
    return branch is None or attempt > branch.attempts


def _can_begin(state: SagaState, name: str) -> bool:
    """Say whether branch *name* may begin as a list or as a child, which is not asked twice."""
    if state.phase is not RUNNING or not _is_awaited(state, name) or not _is_wait_over(state, name):
        return False
    branch = state.branches.get(name)
    return branch is None or branch.status not in (Status.RUNNING, Status.STUCK)


def _can_be_skipped(state: SagaState, name: str) -> bool:
    """Say whether branch *name* has had no effect so far, for all that anybody knows."""
    if state.phase is not RUNNING or not _is_awaited(state, name):
        return False
    branch = state.branches.get(name)
    if branch is None or branch.attempts == 0:
        return not _is_child_begun(state, name)
    return state.step_of(name).is_local


def _failed(state: SagaState, failed: e.Failed) -> Events:
    step = state.step_of(failed.step)
    if state.phase is UNDOING:
        return (e.StepFailed(failed.step, failed.attempt, failed.because, None),)
    branch = state.branches.get(failed.step)
    counted = failed.attempt - (branch.forgiven if branch else 0)
    if not failed.is_final and not step.retry.is_exhausted(counted):
        retry_at = failed.now + step.retry.delay_seconds(counted, failed.chance)
        return (e.StepFailed(failed.step, failed.attempt, failed.because, retry_at),)
    last = e.StepFailed(failed.step, failed.attempt, failed.because, None)
    if step.kind is Kind.PIVOT and not step.is_local:
        # The point of no return may lie behind us, so neither way is safe to take alone.
        because = f"nobody knows whether it took effect: {failed.because}"
        return last, e.BecameStuck(failed.step, because)
    if step.kind is RETRIABLE:
        return last, e.BecameStuck(failed.step, failed.because)  # There is no way back from here.
    return last, e.UndoStarted(failed.because, e.Reason.FAILED, failed.step)


def _refused_by(state: SagaState, refused: e.RefusedBy) -> Events:
    name, attempt = refused.step, refused.attempt
    return _refused(state, name, attempt, refused.because) if _is_awaited(state, name, attempt) else NOTHING


def _refused(state: SagaState, name: str, attempt: int, because: str) -> Events:
    if state.step_of(name).kind is RETRIABLE:
        return (e.BecameStuck(name, because),)
    refused = e.StepRefused(name, attempt, because)
    if state.phase is UNDOING:
        return (refused,)
    return refused, e.UndoStarted(because, REFUSED, name)


def _postponed(state: SagaState, name: str, until: float, because: str) -> Events:
    branch = state.branches.get(name)
    if state.phase is UNDOING:
        is_due = branch is not None and branch.status in TO_UNDO and branch.status is not Status.UNDO_STUCK
    else:
        is_due = _is_awaited(state, name) and _is_wait_over(state, name) and not _is_child_begun(state, name)
    if not is_due or (branch is not None and branch.status is Status.STUCK):
        return NOTHING
    if branch is not None and branch.status is not Status.WAITING and (branch.not_before or 0.0) >= until:
        return NOTHING
    return (e.StepPostponed(name, until, because),)


def _wait_begun(state: SagaState, name: str, now: float) -> Events:
    step = state.graph.by_name.get(name)
    if step is None or step.wait is None or step.wait.signal in state.signals or name in state.branches:
        return NOTHING
    if state.phase is not RUNNING or not _are_needs_settled(state, step):
        return NOTHING
    seconds = step.wait.seconds
    return (e.WaitStarted(name, None if seconds is None else now + seconds),)


def _time_came(state: SagaState, name: str, now: float) -> Events:
    branch, step = state.branches.get(name), state.graph.by_name.get(name)
    wait = step.wait if step is not None else None
    if wait is None or branch is None or branch.status is not Status.WAITING:
        return NOTHING
    if state.phase is not RUNNING or branch.not_before is None or now < branch.not_before:
        return NOTHING
    if wait.signal is None:
        return (e.WaitEnded(name),)
    if wait.signal in state.signals:
        return NOTHING
    if wait.default is not None:
        return (e.WaitEnded(name, wait.default),)
    return _refused(state, name, 0, f"signal {wait.signal!r} did not come in time")


def _counted(state: SagaState, name: str, items: int) -> Events:
    if not _is_list(state, name) or not _can_begin(state, name):
        return NOTHING
    if items > ITEMS_MAX:
        return _refused(state, name, 0, f"its list has {items} items and {ITEMS_MAX} is the most; split it")
    return (e.FanOutStarted(name, items),)


# ── Backward ────────────────────────────────────────────────────────────────────────────────


def _turn_back(state: SagaState, because: str, reason: e.Reason, by: str | None = None) -> Events:
    if state.phase is not RUNNING or not state.can_be_undone:
        return NOTHING
    return (e.UndoStarted(because, reason, by=by),)


def _undo_asked(state: SagaState, because: str) -> Events:
    is_child = state.started is not None and state.started.parent is not None
    if state.phase is COMPLETED and is_child and state.graph.pivot is None:
        return (e.UndoStarted(because, e.Reason.PARENT),)
    return _turn_back(state, because, e.Reason.PARENT)


def _lost(state: SagaState, name: str) -> Events:
    branch = state.branches.get(name)
    if state.phase is not UNDOING or branch is None or branch.status is not Status.RUNNING:
        return NOTHING
    if branch.child is not None:
        return NOTHING  # A child is in the journal: its answer cannot be lost.
    return (e.StepLost(name, "it was asked by a node that is gone"),)


def _compensated(state: SagaState, compensated: e.CompensationSucceeded) -> Events:
    name, attempt = compensated.step, compensated.attempt
    return (e.CompensationDone(name, attempt),) if _is_to_undo(state, name, attempt) else NOTHING


def _is_to_undo(state: SagaState, name: str, attempt: int) -> bool:
    branch = state.branches.get(name)
    if state.phase is not UNDOING or branch is None or branch.status not in TO_UNDO:
        return False
    step = state.step_of(name)
    is_list = step.each is not None and name == step.name
    if not step.is_undoable or is_list or not is_free(state, step.name):
        return False
    return attempt > branch.undo_attempts


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


# By its type, as in evolve.
OFTEN: dict[type, Callable[[SagaState, Any], Events]] = {
    e.Begin: _begun,
    e.Succeeded: _succeeded,
    e.RefusedBy: _refused_by,
    e.CompensationSucceeded: _compensated,
}
