"""What must be true of a store once everything has ended, whatever happened on the way.

Each check returns sentences, one a broken promise: an empty list is what we want.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from finality.adapters.msgspec.graph import graph_from_json
from finality.core.explain import explain
from finality.core.ids import Json, NodeId, Version
from finality.core.protocol import Recorded
from finality.core.saga import Graph, SagaState, Status, outstanding, replay, summary_of
from finality.core.saga import events as e
from finality.core.saga.events import split_branch
from finality.core.saga.graph import Step
from finality.ports.home import HEADS_MAX, Head
from finality.runtime.definition import StepCode
from finality.testing.effects import ACTION, COMPENSATION, codes_of, effects_in, takes_tx
from finality.testing.environment import EPOCH
from finality.testing.world import World, at_once


class Streams:
    """Every transaction of a world, read once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.heads = list(_all_heads(world))
        self.told: dict[str, list[Recorded]] = {
            head.id: at_once(world.home.load(head.key)) for head in self.heads
        }
        self.states: dict[str, SagaState] = {}
        self._graphs: dict[tuple[str, str], Graph] = {}
        for head in self.heads:
            events = [recorded.event for recorded in self.told[head.id]]
            self.states[head.id] = replay(self.graph_of(head), events)

    def graph_of(self, head: Head) -> Graph:
        """Return the shape of the saga."""
        key = (head.kind, head.definition)
        if key not in self._graphs:
            kept = at_once(self.world.home.definition(*key))
            assert kept is not None, f"the shape of {head.kind}@{head.definition} is kept with its first saga"
            self._graphs[key] = graph_from_json(Json(kept))
        return self._graphs[key]

    def story_of(self, id: str) -> str:
        """Return what happened to a transaction, for a report."""
        head = next((head for head in self.heads if head.id == id), None)
        if head is None:
            return f"{id} never began"
        told = self.told[id]
        lines = [f"  {r.version:3} +{r.at - EPOCH:.3f}s {r.by.rpartition('-')[2]} {r.event}" for r in told]
        explanation = explain(told, self.graph_of(head), now=told[-1].at, driver=head.driver, note=head.note)
        return "\n".join([str(explanation), *lines])


def _all_heads(world: World) -> Iterable[Head]:
    before: int | None = None
    while page := at_once(world.home.heads(before=before, limit=HEADS_MAX)):
        yield from page
        before = page[-1].key


def problems_of(streams: Streams, *, may_be_open: bool = False) -> list[tuple[str, str]]:
    """Return (transaction id, what is wrong) for every broken promise of the journal.

    Args:
        may_be_open: Whether transactions that have not ended are fine.
    """
    checks: list[Callable[[Head, list[Recorded], SagaState], Iterable[str]]] = [
        _is_in_order, _fits_its_head, _ends_once, _is_all_or_nothing, _is_undone_backwards,
        _is_written_by_its_driver,
    ]  # fmt: skip
    if not may_be_open:
        checks.append(_has_ended)
    problems: list[tuple[str, str]] = []
    for head in streams.heads:
        told, state = streams.told[head.id], streams.states[head.id]
        problems += [(head.id, problem) for check in checks for problem in check(head, told, state)]
    return problems


def _has_ended(head: Head, told: list[Recorded], state: SagaState) -> Iterable[str]:
    if not head.has_ended:
        yield f"it has not ended: it is {head.status} and wakes at {head.wake_at}"


def _is_in_order(head: Head, told: list[Recorded], state: SagaState) -> Iterable[str]:
    versions = [recorded.version for recorded in told]
    if versions != [Version(n) for n in range(1, len(told) + 1)]:
        yield f"its versions are not 1, 2, 3 …: {versions}"
    positions = [recorded.position for recorded in told]
    if positions != sorted(set(positions)):
        yield f"its positions do not grow: {positions}"
    if not told or not isinstance(told[0].event, e.Started):
        yield "it does not begin with Started"
    if head.version != len(told):
        yield f"its head is at version {head.version} and its stream at {len(told)}"


def _fits_its_head(head: Head, told: list[Recorded], state: SagaState) -> Iterable[str]:
    summary = summary_of(state, outstanding(state))
    if (summary.has_ended, state.has_ended) != (head.has_ended, head.has_ended):
        yield f"its head says has_ended={head.has_ended} and its events say {state.has_ended}"
    if head.has_ended and summary.status != head.status:
        yield f"its head says {head.status} and its events say {summary.status}"


def _ends_once(head: Head, told: list[Recorded], state: SagaState) -> Iterable[str]:
    for place, recorded in enumerate(told):
        if not isinstance(recorded.event, e.Completed | e.Compensated) or place == len(told) - 1:
            continue
        after = told[place + 1].event
        is_undone_by_parent = isinstance(after, e.UndoStarted) and after.reason is e.Reason.PARENT
        if isinstance(recorded.event, e.Compensated) or not is_undone_by_parent:
            yield f"something follows its end: {after}"


def _is_all_or_nothing(head: Head, told: list[Recorded], state: SagaState) -> Iterable[str]:
    done = Counter(r.event.step for r in told if isinstance(r.event, e.StepDone))
    undone = Counter(r.event.step for r in told if isinstance(r.event, e.CompensationDone))
    for name, count in (done + undone).items():
        if done[name] > 1 or undone[name] > 1:
            yield f"{name!r} was recorded {count} times: done {done[name]}, undone {undone[name]}"
    if head.status == "completed":
        left = [s.name for s in state.graph.steps if state.branches[s.name].status not in _SETTLED]
        if left or undone:
            yield f"it completed with {left} open and {sorted(undone)} undone"
    if head.status == "compensated":
        stands = [
            name
            for name, branch in state.branches.items()
            if branch.status in (Status.DONE, Status.LOST)
            and state.step_of(name).is_undoable
            and not (state.step_of(name).each and "[" not in name)
        ]
        if stands:
            yield f"it was compensated and {stands} still stands"


_SETTLED = frozenset({Status.DONE, Status.SKIPPED})


def _is_undone_backwards(head: Head, told: list[Recorded], state: SagaState) -> Iterable[str]:
    undone: list[str] = []
    for recorded in told:
        if isinstance(recorded.event, e.CompensationDone):
            step = state.step_of(recorded.event.step)
            late = [name for name in undone if name in step.after]
            if late:
                yield f"{step.name!r} was undone after {late}, on which it stands"
            undone.append(step.name)


_BY_ITS_DRIVER = (
    e.StepStarted, e.StepDone, e.StepFailed, e.StepRefused, e.StepSkipped, e.StepLost, e.CompensationDone,
    e.CompensationFailed, e.ChildStarted, e.FanOutStarted, e.WaitStarted, e.WaitEnded,
)  # fmt: skip


def _is_written_by_its_driver(head: Head, told: list[Recorded], state: SagaState) -> Iterable[str]:
    driver = told[0].by if told else ""
    for recorded in told:
        if isinstance(recorded.event, e.TakenOver):
            driver = NodeId(recorded.event.by)
        elif isinstance(recorded.event, _BY_ITS_DRIVER) and recorded.by != driver:
            yield f"{recorded.by} wrote {recorded.event} after {driver} had taken it over"


def effect_problems(streams: Streams) -> list[tuple[str, str]]:
    """Return (transaction id, what is wrong) where an action or compensation had not one effect."""
    effects = effects_in(streams.world)
    codes = codes_of(streams.world.sagas)
    branches: dict[tuple[str, str], None] = {(saga, branch): None for saga, branch, _ in effects}
    for head in streams.heads:
        branches |= {(head.id, name): None for name in streams.states[head.id].branches}
    problems: list[tuple[str, str]] = []
    for id, name in branches:
        state = streams.states.get(id)
        if state is None:
            problems.append((id, f"{name!r} took effect and the saga never began"))
            continue
        code = codes.get((state.graph.saga, split_branch(name)[0]))
        step = state.step_of(name)
        if code is not None and state.has_ended and not (step.is_child or _is_whole_list(step, name)):
            done, undone = effects[id, name, ACTION], effects[id, name, COMPENSATION]
            problems += [(id, problem) for problem in _miscounted(state, code, name, done, undone)]
    return problems


def _is_whole_list(step: Step, name: str) -> bool:
    return step.each is not None and split_branch(name)[1] is None


def _miscounted(state: SagaState, code: StepCode, name: str, done: int, undone: int) -> Iterable[str]:
    step, branch = state.step_of(name), state.branches.get(name)
    status = None if branch is None else branch.status
    if done > 1 or undone > 1:
        yield f"{name!r} took effect {done} times and its compensation {undone} times"
    if status is not None and status in _NEVER and done:
        yield f"{name!r} is recorded as {status.value} and took effect"
    if undone and state.undo is None:
        yield f"{name!r} was compensated in a saga that was not undone"
    if not takes_tx(code.action):
        return  # A service's effects are the service's to count.
    if status is Status.DONE and done != 1:
        yield f"{name!r} is recorded as done and took effect {done} times"
    if state.undo is not None and code.compensation and takes_tx(code.compensation) and done != undone:
        yield f"{name!r} took effect {done} times and was undone {undone} times"
    if step.is_local and status is Status.UNDONE and done != 1:
        yield f"{name!r} is recorded as undone and took effect {done} times"


_NEVER = frozenset({Status.SKIPPED, Status.REFUSED, Status.GAVE_UP})


def residue_of(world: World) -> list[str]:
    """Return what is left in the stores that should be gone: open transactions and locks."""
    return [f"store {name}: {left}" for name, place in world.places.items() for left in place.residue()]


def leases_left(world: World) -> list[str]:
    """Return the nodes whose lease runs on, once all nodes have closed or are long dead."""
    now = world.now()
    return [
        f"node {row.id} still has a lease" for row in at_once(world.home.nodes()) if row.lease_until > now
    ]
