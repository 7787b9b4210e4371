"""Child sagas: a step that is a saga of its own, begun in its parent's commit."""

from __future__ import annotations

from finality.core.ids import Json, TransactionId
from finality.core.saga import (
    Phase,
    SagaState,
    Status,
    Summary,
    begun,
    outstanding,
    summary_of,
)
from finality.core.saga import events as e
from finality.ports.home import Birth, HomeTransaction
from finality.runtime.definition import Definition
from finality.runtime.drive import Drive
from finality.runtime.turns import Settled, SignalTurn


def child_id(parent: TransactionId, step: str) -> TransactionId:
    """Return the id of the saga that *step* of *parent* runs: always the same."""
    return TransactionId(f"{parent}/{step}")


class StartChildTurn(SignalTurn):
    """Begins the child and tells the parent, in one commit: both or neither."""

    __slots__ = ("_definition", "_input", "_now", "_step")

    def __init__(
        self, drive: Drive, step: str, definition: Definition, input: Json, now: float, settled: Settled
    ) -> None:
        super().__init__(drive, None, settled, step)
        self._step = step
        self._definition = definition
        self._input = input
        self._now = now

    def run(self, tx: HomeTransaction) -> None:
        """Begin the child, unless the parent has turned back."""
        self._before = self.drive.tip
        drive, graph = self.drive, self._definition.graph
        started = drive.state.started
        traceparent = None if started is None else started.traceparent
        begin = e.Begin(self._input, self._now, drive.id, self._step, traceparent)
        events, state = begun(graph, begin)
        id = child_id(drive.id, self._step)
        birth = Birth(id, graph.saga, graph.version, drive.key, drive.node)
        # It wakes at once, so that the node's timers bring it in hand like any other.
        key = tx.create(birth, events, Summary(summary_of(state, outstanding(state)).status, wake_at=0.0))
        if key is None:
            because = f"its child would have the id {id}, which is taken by another saga"
            self._record(tx, e.RefusedBy(self._step, 1, because))
        elif not self._record(tx, e.ChildBegun(self._step, id)):
            tx.undo()


def heard_of_child(step: str, child: SagaState, branch_status: Status) -> e.SagaSignal | None:
    """Return what the parent learns from how its child ended; None while it has not.

    A child that completed although its parent had turned back is reported as done first, so that
    it is undone next.
    """
    if not child.has_ended:
        return None
    is_completed = child.phase is Phase.COMPLETED
    if branch_status is Status.RUNNING:
        if is_completed:
            return e.Succeeded(step, child.result or Json("null"), 1)
        because = child.undo.because if child.undo else "it was undone"
        return e.RefusedBy(step, 1, because)
    if is_completed:
        return None
    return e.CompensationSucceeded(step, 1)
