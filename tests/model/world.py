"""The world around a saga: services, local stores, the network, nodes that die, people.

```
    node ──request──▶ service        A request or an answer may be lost, come late, come twice:
      ▲                  │           once sent it may arrive at any time, any number of times.
      └─────answer───────┘           A service keeps a witness, so it answers a repeated request
                                     from its record (finality.core.participant, as in production).
    local store: a step's effect and its event are one commit, or neither.
    restart: what was in flight is forgotten; what is outstanding is computed from the journal.
```

Lost is never delivered, so it needs no move. Time is a choice as well: a wait, a deadline, a
timeout may come at any moment. Only faults are counted, so that the walk ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from finality.core.ids import Json, TransactionId
from finality.core.participant import NOTHING_KNOWN, Answer, Operation, Proceed, Witness, answer_to, recorded
from finality.core.saga import Graph, Kind, Phase, Status, Step
from finality.core.saga import events as e
from finality.core.saga.events import branch_name, split_branch
from tests.model.sagas import NEW, Sagas, json_of

ITEMS = 2
BECAUSE = "it happens"
DONE, REFUSED = Answer(Json('"done"')), Answer(Json('"no"'), is_refusal=True)

# Effects are small numbers: a walk hashes each of them a million times.
WITNESSES: list[Witness] = [NOTHING_KNOWN]
NONE, STANDS, UNDONE = 0, 1, 2


class Effect(NamedTuple):
    """What one branch has left behind: *asked* and *undo_asked* say what was ever sent to a service."""

    standing: int = NONE
    asked: bool = False
    undo_asked: bool = False
    witness: int = 0


class Move(NamedTuple):
    """Something that can happen: *kind* is what, to *branch* of the saga *who*."""

    kind: str
    who: int = 0
    branch: str = ""
    more: object = ""

    def __str__(self) -> str:
        return f"{self.kind} {['parent', 'child'][self.who]} {self.branch} {self.more}".rstrip()


class World(NamedTuple):
    """Everything there is. *sagas* are numbers of saga states: one saga, or a parent and its child.

    Attributes:
        flight: What the node runs now: (is undo, saga, branch, attempt). A restart forgets it.
        faults: How many more failures, timeouts and restarts there will be.
        has_completed: The child completed at some time, so its parent may hear of that at any time.
    """

    sagas: tuple[int, ...]
    effects: tuple[Effect, ...]
    flight: frozenset[tuple[bool, int, str, int]]
    faults: int
    has_completed: bool = False


@dataclass
class Rules:
    """What may happen in one world: which graphs, who may refuse, how much may go wrong."""

    graph: Graph
    child: Graph | None = None
    refusing: frozenset[str] = frozenset()
    postponing: frozenset[str] = frozenset()
    faults: int = 2
    may_park: bool = False
    may_cancel: bool = True
    sagas: tuple[Sagas, ...] = field(init=False)
    slots: dict[tuple[int, str], int] = field(init=False)

    def __post_init__(self) -> None:
        graphs = (self.graph,) if self.child is None else (self.graph, self.child)
        self.sagas = tuple(Sagas(graph) for graph in graphs)
        names = [(who, name) for who, graph in enumerate(graphs) for name in _branches(graph)]
        self.slots = {name: slot for slot, name in enumerate(names)}

    def start(self) -> World:
        """Return the world in which the saga has just begun."""
        begun = self.sagas[0].tell(NEW, e.Begin(Json("{}"), now=0.0))[1]
        sagas = (begun, *(NEW for _ in self.sagas[1:]))
        return World(sagas, tuple(Effect() for _ in self.slots), frozenset(), self.faults)

    def moves(self, world: World) -> Iterator[tuple[Move, World]]:
        """Yield all that can happen in *world*."""
        for who, saga in enumerate(world.sagas):
            if saga != NEW:
                for command in self.sagas[who].commands[saga]:
                    yield from self.obeyed(world, who, command)
                yield from self.told(world, who)
        yield from self.answered(world)
        for (who, name), slot in self.slots.items():
            step = self.step(who, name)
            if not step.is_local:
                yield from self.served(world, who, name, slot)
        if self.child is not None:
            yield from self.child_heard(world)
        if world.faults and world.flight:
            yield Move("restart"), world._replace(flight=frozenset(), faults=world.faults - 1)

    def step(self, who: int, name: str) -> Step:
        return self.sagas[who].graph.by_name[split_branch(name)[0]]

    def tell(self, world: World, who: int, signal: e.SagaSignal) -> World:
        events, after = self.sagas[who].tell(world.sagas[who], signal)
        if not events:
            return world
        sagas = (*world.sagas[:who], after, *world.sagas[who + 1 :])
        completed = world.has_completed or (who == 1 and e.Completed() in events)
        return world._replace(sagas=sagas, has_completed=completed)

    # ── What the node does about what is outstanding ────────────────────────────────────────

    def obeyed(self, world: World, who: int, command: e.SagaCommand) -> Iterator[tuple[Move, World]]:
        match command:
            case e.Run(name, attempt):
                if not any(flying[:3] == (False, who, name) for flying in world.flight):
                    yield from self.run(world, who, name, attempt)
            case e.Compensate(name, attempt):
                if not any(flying[:3] == (True, who, name) for flying in world.flight):
                    asked = self.changed(world, who, name, undo_asked=True)
                    yield Move("undoes", who, name), flies(asked, True, who, name, attempt)
            case e.StartWait(name):
                yield from self.conditioned(world, who, name)
                yield Move("waits", who, name), self.tell(world, who, e.WaitBegun(name, 0.0))
            case e.AwaitTime(name, until):
                if until is not None:
                    yield Move("time", who, name), self.tell(world, who, e.TimeCame(name, until))
            case e.CountItems(name):
                yield from self.conditioned(world, who, name)
                yield Move("counts", who, name), self.tell(world, who, e.ItemsCounted(name, ITEMS))
                yield from self.fails(world, who, name, 1)
            case e.StartChild(name):
                yield from self.conditioned(world, who, name)
                yield Move("starts", who, name), self.child_begun(world, name)
                yield from self.fails(world, who, name, 1)
            case e.FindAnswer(name):
                if not any(flying[:3] == (False, who, name) for flying in world.flight):
                    yield Move("loses", who, name), self.tell(world, who, e.AnswerLost(name))
            case e.AwaitDeadline(at):
                yield Move("deadline", who), self.tell(world, who, e.DeadlineCame(at))
            case e.AskPerson():
                yield Move("person", who), self.retried(world, who)
            case e.AwaitChild() | e.UndoChild():
                pass  # What the parent and its child tell each other is child_heard.

    def run(self, world: World, who: int, name: str, attempt: int) -> Iterator[tuple[Move, World]]:
        step = self.step(who, name)
        if name in self.postponing:
            postponed = self.tell(world, who, e.Postponed(name, 1.0, BECAUSE))
            yield Move("postpones", who, name), postponed
        if step.is_local or attempt == 1:
            yield from self.conditioned(world, who, name)
        elif step.is_conditional:
            # A node that asks the condition again, and hears another answer, must do no harm.
            yield Move("declines", who, name), self.tell(world, who, e.Declined(name))
        if step.is_local:
            yield Move("runs", who, name), flies(world, False, who, name, attempt)
            return
        started = self.tell(world, who, e.AboutToRun(name, attempt))
        assert started is not world, f"{name} may never be asked: attempt {attempt}"
        asked = self.changed(started, who, name, asked=True)
        yield Move("asks", who, name, attempt), flies(asked, False, who, name, attempt)

    def conditioned(self, world: World, who: int, name: str) -> Iterator[tuple[Move, World]]:
        """A step's condition is asked before it waits, counts, begins or runs; it may also raise."""
        if self.step(who, name).is_conditional:
            declined = self.tell(world, who, e.Declined(name))
            assert declined is not world, f"{name} may not be skipped, and must not run"
            yield Move("declines", who, name), declined
            refused = self.refused(world, who, name, 1)
            if refused is not None:
                yield Move("refused", who, name), refused

    def answered(self, world: World) -> Iterator[tuple[Move, World]]:
        """What the node learns of the work that it has in flight."""
        for flying in world.flight:
            is_undo, who, name, attempt = flying
            landed = world._replace(flight=world.flight - {flying})
            step = self.step(who, name)
            if is_undo:
                if step.is_local:
                    yield Move("undone", who, name), self.undone(landed, who, name, attempt)
                yield from self.errs(landed, who, name, attempt)
                continue
            if step.is_local:
                yield Move("done", who, name), self.done(landed, who, name, attempt)
                refused = self.refused(landed, who, name, attempt)
                if refused is not None:
                    yield Move("refused", who, name), refused
            yield from self.fails(landed, who, name, attempt)

    def done(self, world: World, who: int, name: str, attempt: int) -> World:
        """A local step: the store commits its effect with the event, or neither."""
        after = self.tell(world, who, e.Succeeded(name, json_of(name), attempt))
        if after is world:
            return world
        assert world.effects[self.slots[who, name]].standing == NONE, f"{name} takes effect twice"
        return self.changed(after, who, name, standing=STANDS)

    def undone(self, world: World, who: int, name: str, attempt: int) -> World:
        after = self.tell(world, who, e.CompensationSucceeded(name, attempt))
        if after is world:
            return world
        assert world.effects[self.slots[who, name]].standing == STANDS, f"{name} is undone, and is not there"
        return self.changed(after, who, name, standing=UNDONE)

    def refused(self, world: World, who: int, name: str, attempt: int) -> World | None:
        if name not in self.refusing:
            return None
        if self.step(who, name).kind is Kind.RETRIABLE:
            if not world.faults:
                return None
            world = world._replace(faults=world.faults - 1)
        return self.tell(world, who, e.RefusedBy(name, attempt, BECAUSE))

    def fails(self, world: World, who: int, name: str, attempt: int) -> Iterator[tuple[Move, World]]:
        if world.faults:
            failing = world._replace(faults=world.faults - 1)
            yield Move("fails", who, name), self.tell(failing, who, e.Failed(name, attempt, BECAUSE, 0.0))

    def errs(self, world: World, who: int, name: str, attempt: int) -> Iterator[tuple[Move, World]]:
        if world.faults:
            failing = world._replace(faults=world.faults - 1)
            erred = e.CompensationErred(name, attempt, BECAUSE, 0.0)
            yield Move("errs", who, name), self.tell(failing, who, erred)

    # ── Services and the network ────────────────────────────────────────────────────────────

    def served(self, world: World, who: int, name: str, slot: int) -> Iterator[tuple[Move, World]]:
        effect = world.effects[slot]
        if effect.asked:
            yield from self.action_arrives(world, who, name, effect)
        if effect.undo_asked:
            compensated = serve(effect.witness, Operation.COMPENSATION, DONE)
            if compensated != effect.witness:
                yield Move("undo arrives", who, name), self.witnessed(world, who, name, compensated, UNDONE)
            else:
                yield from self.undo_answers(world, who, name)

    def action_arrives(
        self, world: World, who: int, name: str, effect: Effect
    ) -> Iterator[tuple[Move, World]]:
        done = serve(effect.witness, Operation.ACTION, DONE)
        if done != effect.witness:
            yield Move("arrives", who, name), self.witnessed(world, who, name, done, STANDS)
            is_retriable = self.step(who, name).kind is Kind.RETRIABLE
            if name in self.refusing and (not is_retriable or world.faults):
                refused = serve(effect.witness, Operation.ACTION, REFUSED)
                paid = world._replace(faults=world.faults - is_retriable)
                yield Move("refuses", who, name), self.witnessed(paid, who, name, refused, effect.standing)
        known = WITNESSES[effect.witness]
        if known == NOTHING_KNOWN:
            return
        is_no = known.action is None or known.action.is_refusal
        branch = self.sagas[who].states[world.sagas[who]].branches.get(name)
        attempts = {*range(1, (branch.attempts if branch else 0) + 1), *in_flight(world, False, who, name)}
        for attempt in sorted(attempts):
            signal: e.SagaSignal = (
                e.RefusedBy(name, attempt, BECAUSE) if is_no else e.Succeeded(name, json_of(name), attempt)
            )
            heard = self.tell(world, who, signal)
            yield Move("answers", who, name, attempt), lands(heard, False, who, name, attempt)

    def undo_answers(self, world: World, who: int, name: str) -> Iterator[tuple[Move, World]]:
        branch = self.sagas[who].states[world.sagas[who]].branches.get(name)
        attempts = {
            *range(1, (branch.undo_attempts if branch else 0) + 1),
            *in_flight(world, True, who, name),
        }
        for attempt in sorted(attempts):
            heard = self.tell(world, who, e.CompensationSucceeded(name, attempt))
            yield Move("undo answers", who, name, attempt), lands(heard, True, who, name, attempt)

    def witnessed(self, world: World, who: int, name: str, witness: int, standing: int) -> World:
        return self.changed(world, who, name, witness=witness, standing=standing)

    # ── People ──────────────────────────────────────────────────────────────────────────────

    def told(self, world: World, who: int) -> Iterator[tuple[Move, World]]:
        state = self.sagas[who].states[world.sagas[who]]
        if state.phase is not Phase.RUNNING:
            return
        if self.may_cancel:
            yield Move("cancel", who), self.tell(world, who, e.Cancel("ann", BECAUSE))
        for step in state.graph.steps:
            if step.wait is not None and step.wait.signal is not None:
                told = e.Told(step.wait.signal, Json('"yes"'), "ann")
                yield Move("told", who, step.name), self.tell(world, who, told)
        if self.may_park and world.faults and state.parked is None:
            parked = self.sagas[who].record(world.sagas[who], e.Parked(BECAUSE))
            sagas = (*world.sagas[:who], parked, *world.sagas[who + 1 :])
            yield Move("parks", who), world._replace(sagas=sagas, faults=world.faults - 1)

    def retried(self, world: World, who: int) -> World:
        """A person puts right what was wrong, at the services too, and says so."""
        for name, status in self.sagas[who].statuses[world.sagas[who]].items():
            if status is Status.STUCK and (who, name) in self.slots:
                if WITNESSES[world.effects[self.slots[who, name]].witness].action == REFUSED:
                    world = self.witnessed(world, who, name, 0, NONE)
        return self.tell(world, who, e.RetryAsked("ann", BECAUSE))

    # ── A child and its parent ──────────────────────────────────────────────────────────────

    def child_begun(self, world: World, name: str) -> World:
        begun = self.tell(world, 0, e.ChildBegun(name, TransactionId("child")))
        assert begun is not world, "the child may never begin"
        return self.tell(begun, 1, e.Begin(Json("{}"), 0.0, TransactionId("parent"), name))

    def child_heard(self, world: World) -> Iterator[tuple[Move, World]]:
        step = next(step.name for step in self.graph.steps if step.is_child)
        parent, child = (self.sagas[who].states[saga] for who, saga in enumerate(world.sagas))
        if world.has_completed:
            # The news may be old: the child may have been undone in the meantime.
            yield Move("completes", 1), self.tell(world, 0, e.Succeeded(step, json_of(step), 1))
        for command in self.sagas[0].commands[world.sagas[0]]:
            if isinstance(command, e.UndoChild):
                yield Move("asks to undo", 1), self.tell(world, 1, e.UndoAsked(BECAUSE))
                if world.faults and child.phase is Phase.COMPLETED and child.graph.pivot is not None:
                    failing = world._replace(faults=world.faults - 1)
                    attempt = parent.branches[step].undo_attempts + 1
                    never = e.CompensationErred(step, attempt, "it is behind its pivot", 0.0, is_final=True)
                    yield Move("cannot be undone", 1), self.tell(failing, 0, never)
        if child.phase is not Phase.COMPENSATED:
            return
        branch = parent.branches.get(step)
        if branch is not None and branch.status is Status.RUNNING:
            yield Move("compensated", 1), self.tell(world, 0, e.RefusedBy(step, 1, BECAUSE))
        elif branch is not None and parent.phase is Phase.UNDOING:
            undone = e.CompensationSucceeded(step, branch.undo_attempts + 1)
            yield Move("compensated", 1), self.tell(world, 0, undone)

    def changed(self, world: World, who: int, name: str, **changes: int) -> World:
        slot = self.slots[who, name]
        effect = world.effects[slot]._replace(**changes)  # type: ignore[arg-type]  # flags are numbers too
        return world._replace(effects=(*world.effects[:slot], effect, *world.effects[slot + 1 :]))


def _branches(graph: Graph) -> Iterator[str]:
    for step in graph.steps:
        if step.each is not None:
            yield from (branch_name(step.name, item) for item in range(ITEMS))
        elif not step.is_child:
            yield step.name


def flies(world: World, is_undo: bool, who: int, name: str, attempt: int) -> World:
    return world._replace(flight=world.flight | {(is_undo, who, name, attempt)})


def in_flight(world: World, is_undo: bool, who: int, name: str) -> list[int]:
    return [flying[3] for flying in world.flight if flying[:3] == (is_undo, who, name)]


def lands(world: World, is_undo: bool, who: int, name: str, attempt: int) -> World:
    flying = (is_undo, who, name, attempt)
    return world._replace(flight=world.flight - {flying}) if flying in world.flight else world


@cache
def serve(witness: int, operation: Operation, answer: Answer) -> int:
    """Return the witness that a request leaves; the same one when the service does nothing."""
    known = WITNESSES[witness]
    if not isinstance(answer_to(known, operation), Proceed):
        return witness
    after = recorded(known, operation, answer)
    if after not in WITNESSES:
        WITNESSES.append(after)
    return WITNESSES.index(after)
