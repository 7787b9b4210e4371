"""What is known of a saga, and what each event changes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from typing import Any, assert_never

from finality.core.ids import Json, TransactionId
from finality.core.saga import events as e
from finality.core.saga.graph import Graph, Step
from finality.core.value import value


class Phase(Enum):
    """Where the saga as a whole is."""

    NEW = "new"
    RUNNING = "running"
    UNDOING = "undoing"
    COMPLETED = "completed"
    COMPENSATED = "compensated"


# Python 3.11 takes ten times as long to find Phase.RUNNING as this name.
NEW, RUNNING, UNDOING, COMPLETED, COMPENSATED = Phase


class Status(Enum):
    """Where one branch is.

    ```
      WAITING ─▶ READY ─▶ RUNNING ─▶ DONE ─▶ UNDONE      REFUSED, GAVE_UP: it had no effect
                            │ ▲        │       ▲         LOST: nobody knows
                            ▼ │        ▼       │         FANNED: its items have the say
                          FAILED ─▶ UNDO_FAILED          STUCK, UNDO_STUCK: a person is needed
    ```
    """

    WAITING = "waiting"
    READY = "ready"
    RUNNING = "running"
    FAILED = "failed"
    FANNED = "fanned"
    DONE = "done"
    SKIPPED = "skipped"
    REFUSED = "refused"
    GAVE_UP = "gave_up"
    LOST = "lost"
    STUCK = "stuck"
    UNDO_FAILED = "undo_failed"
    UNDO_STUCK = "undo_stuck"
    UNDONE = "undone"

    __hash__ = object.__hash__  # By identity: an Enum hashes its name, and in Python at that.


SETTLED = frozenset({Status.DONE, Status.SKIPPED})
OPEN = frozenset({Status.WAITING, Status.READY, Status.RUNNING, Status.FAILED, Status.STUCK})
TO_UNDO = frozenset({Status.DONE, Status.LOST, Status.UNDO_FAILED, Status.UNDO_STUCK})
STUCK = frozenset({Status.STUCK, Status.UNDO_STUCK})
CLEARED = frozenset({Status.UNDONE, Status.REFUSED, Status.SKIPPED, Status.GAVE_UP})
NOT_ASKED = frozenset({Status.WAITING, Status.READY})
HALTED = frozenset({Status.FAILED, Status.STUCK})
DONE, REFUSED, UNDONE, ASKED = Status.DONE, Status.REFUSED, Status.UNDONE, Status.RUNNING


@value
class Branch:
    """What is known of one branch.

    Attributes:
        attempts: How many were started or have failed.
        not_before: When the next attempt, forward or backward, may run; 0 is at once.
        result: What it yielded; None while it is not done, or when its answer is lost.
        forgiven: The attempts before a person's last retry, which no longer count.
    """

    status: Status
    attempts: int = 0
    result: Json | None = None
    not_before: float | None = 0.0
    because: str = ""
    child: TransactionId | None = None
    items: int = 0
    items_done: int = 0
    undo_attempts: int = 0
    forgiven: int = 0


NOTHING_KNOWN = Branch(Status.READY)


@value
class SagaState:
    """What is known of one saga."""

    graph: Graph
    phase: Phase
    left: int
    branches: dict[str, Branch]
    signals: dict[str, Json]
    started: e.Started | None = None
    undo: e.UndoStarted | None = None
    parked: str | None = None

    @property
    def has_ended(self) -> bool:
        """Say whether nothing more will happen to it by itself."""
        return self.phase is COMPLETED or self.phase is COMPENSATED

    @property
    def stuck(self) -> list[str]:
        """Return the branches that need a person."""
        return [name for name, branch in self.branches.items() if branch.status in STUCK]

    @property
    def can_be_undone(self) -> bool:
        """Say whether the point of no return lies ahead for sure."""
        pivot = self.graph.pivot
        if pivot is None:
            return True
        branch = self.branches.get(pivot.name)
        if branch is None:
            return True
        if pivot.is_local:
            return branch.status not in SETTLED
        return branch.status in (Status.WAITING, Status.READY, Status.REFUSED)

    @property
    def result(self) -> Json | None:
        """Return what the saga yields: the result of the step that it returns."""
        step = self.graph.returns
        branch = self.branches.get(step) if step else None
        return branch.result if branch else None

    def step_of(self, branch: str) -> Step:
        """Return the step that *branch* is a run of."""
        by_name = self.graph.by_name
        return by_name.get(branch) or by_name[e.split_branch(branch)[0]]


def new_state(graph: Graph) -> SagaState:
    """Return the state of a saga that has not begun."""
    return SagaState(graph, NEW, len(graph.steps), {}, {})


def evolve(state: SagaState, event: e.SagaEvent) -> SagaState:
    """Return what is known once *event* is true."""
    change = OFTEN.get(type(event))
    if change is not None:
        return change(state, event)
    match event:
        case e.Started() | e.StepDone() | e.Completed():
            raise AssertionError(f"{event} happens often")
        case e.StepRefused() | e.UndoStarted() | e.CompensationDone() | e.Compensated():
            raise AssertionError(f"{event} happens often")
        case e.TakenOver() | e.Migrated():
            return state
        case e.StepStarted(step, attempt):
            return _changed(state, step, Status.RUNNING, attempts=attempt, not_before=0.0)
        case e.StepSkipped(step):
            return _settled(state, step, Branch(Status.SKIPPED, result=Json("null")))
        case e.StepFailed(step, attempt, because, retry_at):
            status = Status.FAILED if retry_at is not None else _given_up(state, step)
            return _changed(
                state, step, status, attempts=attempt, because=because, not_before=retry_at or 0.0
            )
        case e.StepPostponed(step, until, because):
            return _postponed(state, step, until, because)
        case e.StepLost(step, because):
            return _changed(state, step, Status.LOST, because=because)
        case e.CompensationFailed(step, attempt, because, retry_at):
            return _changed(
                state,
                step,
                Status.UNDO_FAILED,
                undo_attempts=attempt,
                because=because,
                not_before=retry_at or 0.0,
            )
        case e.BecameStuck(step, because):
            status = Status.STUCK if state.phase is RUNNING else Status.UNDO_STUCK
            return _changed(state, step, status, because=because)
        case e.Parked(because):
            return replace(state, parked=because)
        case e.Retried():
            return replace(state, parked=None, branches=_forgiven(state.branches))
        case e.WaitStarted(step, until):
            return _changed(state, step, Status.WAITING, not_before=until)
        case e.WaitEnded(step, value):
            return _wait_ended(state, step, value)
        case e.SignalReceived(name, value):
            return replace(state, signals={**state.signals, name: value})
        case e.FanOutStarted(step, items):
            return _fanned_out(state, step, items)
        case e.ChildStarted(step, child):
            return _changed(state, step, Status.RUNNING, child=child)
        case _:
            assert_never(event)


def _changed(state: SagaState, name: str, status: Status, **changes: Any) -> SagaState:
    branch = state.branches.get(name)
    changed = Branch(status, **changes) if branch is None else replace(branch, status=status, **changes)
    return _moved(state, state.phase, state.left, {**state.branches, name: changed})


def _moved(state: SagaState, phase: Phase, left: int, branches: dict[str, Branch]) -> SagaState:
    # Spelled out: replace() takes several times as long, and these are the most frequent changes.
    return SagaState(
        state.graph, phase, left, branches, state.signals, state.started, state.undo, state.parked
    )


def _started(state: SagaState, started: e.Started) -> SagaState:
    return SagaState(state.graph, RUNNING, state.left, state.branches, state.signals, started)


def _completed(state: SagaState, _: e.Completed) -> SagaState:
    return _moved(state, COMPLETED, state.left, state.branches)


def _compensated(state: SagaState, _: e.Compensated) -> SagaState:
    return _moved(state, COMPENSATED, state.left, state.branches)


def _refused(state: SagaState, refused: e.StepRefused) -> SagaState:
    before = state.branches.get(refused.step, NOTHING_KNOWN)
    branch = Branch(
        REFUSED, refused.attempt, before.result, before.not_before, refused.because, before.child,
        before.items, before.items_done, before.undo_attempts, before.forgiven,
    )  # fmt: skip
    return _moved(state, state.phase, state.left, {**state.branches, refused.step: branch})


def _undoing(state: SagaState, undo: e.UndoStarted) -> SagaState:
    """Nothing is attempted forward any more."""
    turned = {}
    for name, branch in state.branches.items():
        status = branch.status
        if status in NOT_ASKED:
            continue
        if status in HALTED:
            branch = replace(branch, status=_given_up(state, name))
        if branch.not_before != 0.0 or branch.forgiven:
            branch = replace(branch, not_before=0.0, forgiven=0)
        turned[name] = branch
    return SagaState(
        state.graph, UNDOING, state.left, turned, state.signals, state.started, undo, state.parked
    )


def _done(state: SagaState, done: e.StepDone) -> SagaState:
    before = state.branches.get(done.step, NOTHING_KNOWN)
    return _settled(state, done.step, Branch(DONE, done.attempt, done.result, 0.0, "", before.child))


def _undone(state: SagaState, undone: e.CompensationDone) -> SagaState:
    before = state.branches[undone.step]  # Spelled out, as in _moved.
    branch = Branch(
        UNDONE, before.attempts, before.result, before.not_before, "", before.child, before.items,
        before.items_done, undone.attempt, before.forgiven,
    )  # fmt: skip
    return _moved(state, state.phase, state.left, {**state.branches, undone.step: branch})


def _settled(state: SagaState, name: str, branch: Branch) -> SagaState:
    branches = {**state.branches, name: branch}
    if name.endswith("]"):
        return _item_settled(state, e.split_branch(name)[0], branches)
    return SagaState(  # Not by _moved: every step of every saga passes here.
        state.graph, state.phase, state.left - 1, branches, state.signals, state.started, state.undo,
        state.parked,
    )  # fmt: skip


def _item_settled(state: SagaState, step: str, branches: dict[str, Branch]) -> SagaState:
    left = state.left
    fan = branches[step] = replace(branches[step], items_done=branches[step].items_done + 1)
    if fan.items_done == fan.items:
        branches[step] = replace(fan, status=Status.DONE, result=_list_of(branches, step, fan.items))
        left -= 1
    return _moved(state, state.phase, left, branches)


def _list_of(branches: dict[str, Branch], step: str, items: int) -> Json:
    results = (branches[e.branch_name(step, item)].result or "null" for item in range(items))
    return Json(f"[{','.join(results)}]")


def _given_up(state: SagaState, name: str) -> Status:
    # A local step that failed was undone by its own store, and a child that has no id never
    # began; of any other nobody knows.
    step, branch = state.step_of(name), state.branches.get(name)
    if step.is_child:
        return Status.LOST if branch is not None and branch.child is not None else Status.GAVE_UP
    return Status.GAVE_UP if step.is_local else Status.LOST


def _postponed(state: SagaState, name: str, until: float, because: str) -> SagaState:
    branch = state.branches.get(name)
    if branch is not None and branch.status is Status.WAITING:
        # Its signal has come, or it would not have been tried; what it waits for now is this.
        return _changed(state, name, Status.READY, not_before=until, because=because)
    status = Status.READY if branch is None else branch.status
    return _changed(state, name, status, not_before=until, because=because)


def _forgiven(branches: dict[str, Branch]) -> dict[str, Branch]:
    forgiven = dict(branches)
    for name, branch in branches.items():
        if branch.status is Status.STUCK:
            forgiven[name] = replace(branch, status=Status.FAILED, not_before=0.0, forgiven=branch.attempts)
        elif branch.status is Status.UNDO_STUCK:
            forgiven[name] = replace(
                branch, status=Status.UNDO_FAILED, not_before=0.0, forgiven=branch.undo_attempts
            )
    return forgiven


def _wait_ended(state: SagaState, step: str, value: Json | None) -> SagaState:
    ended = _changed(state, step, Status.READY, not_before=0.0)
    wait = state.graph.by_name[step].wait
    if value is None or wait is None or wait.signal is None:
        return ended
    return replace(ended, signals={**state.signals, wait.signal: value})


def _fanned_out(state: SagaState, step: str, items: int) -> SagaState:
    if items == 0:
        return _settled(state, step, Branch(Status.DONE, result=Json("[]")))
    return _changed(state, step, Status.FANNED, items=items)


# By its type: a case of a match that does not fit takes as long as this does in all.
OFTEN: dict[type, Callable[[SagaState, Any], SagaState]] = {
    e.Started: _started,
    e.StepDone: _done,
    e.Completed: _completed,
    e.StepRefused: _refused,
    e.UndoStarted: _undoing,
    e.CompensationDone: _undone,
    e.Compensated: _compensated,
}
