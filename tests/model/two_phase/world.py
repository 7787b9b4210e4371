"""The world around a transaction: participants, the network, the home store, nodes and people.

```
    coordinator ──PREPARE──▶ branch     Once sent, a request may arrive at any time and any number
        │  ▲                   │        of times, or never; so may its answer.
        │  └──────vote─────────┘
      write ──▶ HOME ◀── write          The answer to a write may be lost, and the write itself may
                  ▲                     land after the one who sent it has given up.
        recoverers, any number, who read, pause, and write what they decided on then
```

Lost is never delivered, so it needs no move. Time is a choice as well: a deadline, a sweep, a
waking coordinator may come at any moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from finality.core import two_phase as core
from finality.core.two_phase import Decision, Vote
from tests.model.two_phase.transactions import NEW, Events, Transactions

BECAUSE = "it happens"
COMMIT, ABORT = Decision.COMMIT, Decision.ABORT
ANY = frozenset(Vote)


class At(IntEnum):
    """Where a branch is in its own database."""

    OPEN = 0
    PREPARED = 1
    COMMITTED = 2
    ABORTED = 3
    READ_ONLY = 4


class Mode(IntEnum):
    """What the coordinator is doing."""

    DRIVING = 0
    ALONE = 1  # It has asked the only branch to commit in one phase,
    SETTLING = 2  # and has lost the answer.
    WRITING = 3  # It waits for the answer to its decision,
    UNKNOWN = 4  # and has lost it.
    ABORTING = 5  # It has given up, and need not write that.
    GONE = 6  # It has crashed, or has told everybody: whatever is left is for the recoverers.


class Branch(NamedTuple):
    """A branch as its own database has it, and what is on the way to it.

    Attributes:
        votes: Has voted so; the answer may arrive from now on.
        is_asked: PREPARE, or the commit in one phase, has been sent.
        told: The decisions that have been sent.
        has_denied: It answered "aborted" while PREPARE was still to come.
        by_hand: A person has finished it.
    """

    at: At = At.OPEN
    vote: Vote | None = None
    is_asked: bool = False
    told: frozenset[Decision] = frozenset()
    has_denied: bool = False
    by_hand: bool = False

    @property
    def did(self) -> Decision | None:
        """Return what it says when it is told a decision that it cannot follow any more."""
        if self.at is At.COMMITTED:
            return COMMIT
        return ABORT if self.at in (At.ABORTED, At.READ_ONLY) or self.has_denied else None


class World(NamedTuple):
    """Everything there is.

    Attributes:
        memory: The number of what the coordinator knows.
        stream: The number of what the home's journal says.
        writes: First events that are on their way to the home, each written on the empty stream.
        plans: What recoverers are about to write, and whether the stream is as they have read it.
            Both are numbers of plans.
        said: What the caller has been told.
        hands: How many branches a person will still finish by hand.
    """

    mode: Mode
    memory: int
    stream: int
    branches: tuple[Branch, ...]
    writes: frozenset[int] = frozenset()
    plans: tuple[tuple[int, bool], ...] = ()
    said: Decision | None = None
    hands: int = 0

    def with_branch(self, slot: int, branch: Branch) -> World:
        return self._replace(branches=(*self.branches[:slot], branch, *self.branches[slot + 1 :]))


Moves = Iterator[tuple[str, World]]


@dataclass
class Rules:
    """What may happen in one world.

    Attributes:
        votes: What each branch may answer to PREPARE; there are as many branches as entries.
        late: Branches whose PREPARE may still land after they have denied to know of any.
    """

    votes: tuple[frozenset[Vote], ...]
    recoverers: int = 2
    hands: int = 0
    late: frozenset[str] = frozenset()
    names: tuple[str, ...] = field(init=False)
    known: Transactions = field(init=False)

    def __post_init__(self) -> None:
        self.names = tuple("abc"[: len(self.votes)])
        self.known = Transactions()

    def start(self) -> World:
        """Return the world in which every branch has done its work."""
        begun = NEW
        for name in self.names:
            begun = self.known.record(begun, self.known.tell(begun, core.Enlist(name)))
        return World(Mode.DRIVING, begun, NEW, tuple(Branch() for _ in self.names), hands=self.hands)

    def moves(self, world: World) -> Moves:
        """Yield all that can happen in *world*."""
        yield from self.coordinated(world)
        for plan in world.writes:
            yield from self.landed(world, plan)
        for slot, name in enumerate(self.names):
            yield from self.served(world, slot, name)
        yield from self.recovered(world)

    # ── The coordinator ─────────────────────────────────────────────────────────────────────

    def coordinated(self, world: World) -> Moves:
        if world.mode is not Mode.GONE:
            gone = world._replace(mode=Mode.GONE, memory=NEW)
            yield "the coordinator crashes", gone
            silent = tuple(branch._replace(told=frozenset(), is_asked=False) for branch in gone.branches)
            yield "the coordinator crashes and all it sent is lost", gone._replace(branches=silent)
        match world.mode:
            case Mode.DRIVING:
                yield "the block ends", self.told(world, core.EndWork())
                yield "the coordinator gives up", self.told(world, core.GiveUp(BECAUSE))
                for command in self.known.commands[world.memory]:
                    yield from self.obeyed(world, command)
                yield from self.heard(world)
            case Mode.ALONE | Mode.SETTLING:
                yield from self.alone(world)
            case Mode.WRITING:
                yield "the answer to the write is lost", world._replace(mode=Mode.UNKNOWN)
            case Mode.UNKNOWN:
                yield from self.unknown(world)
            case Mode.ABORTING:
                yield from self.aborting(world)

    def heard(self, world: World) -> Moves:
        for name, branch in zip(self.names, world.branches, strict=True):
            if branch.vote is not None:
                signal = core.Heard(name, branch.vote)
                yield f"the vote of {name} arrives", self.told(world, signal)

    def obeyed(self, world: World, command: core.TwoPhaseCommand) -> Moves:
        match command:
            case core.Prepare(name):
                yield f"PREPARE is sent to {name}", self.asked(world, name)
            case core.CommitAlone(name):
                alone = self.asked(world, name)._replace(mode=Mode.ALONE)
                yield f"{name} is asked to commit alone", alone
            case _:
                raise AssertionError(f"{command} of an undecided transaction")

    def asked(self, world: World, name: str) -> World:
        slot = self.names.index(name)
        return world.with_branch(slot, world.branches[slot]._replace(is_asked=True))

    def told(self, world: World, signal: core.TwoPhaseSignal) -> World:
        """The coordinator hears *signal*: what is volatile is true at once, a commit once it is written."""
        events = self.known.tell(world.memory, signal)
        decided = next((event for event in events if isinstance(event, core.Decided)), None)
        if decided is None or decided.decision is ABORT:
            after = world._replace(memory=self.known.record(world.memory, events))
            return self.aborts(after) if decided else after
        heard = tuple(event for event in events if event is not decided)
        before = world._replace(memory=self.known.record(world.memory, heard))
        if not decided.branches:
            return before._replace(mode=Mode.GONE, said=COMMIT)
        return self.writes_commit(before, decided)

    def writes_commit(self, world: World, decided: core.Decided) -> World:
        return world._replace(mode=Mode.WRITING, writes=world.writes | {self.known.plan((decided,))})

    def aborts(self, world: World) -> World:
        """Presumed abort: nothing was written, so nothing needs to be."""
        return self.tells(world._replace(mode=Mode.ABORTING, said=ABORT), world.memory)

    def tells(self, world: World, at: int) -> World:
        """Send what is outstanding in state *at* to every branch."""
        for command in self.known.commands[at]:
            if isinstance(command, core.FinishBranch):
                slot = self.names.index(command.branch)
                branch = world.branches[slot]
                sent = branch._replace(told=branch.told | {command.decision})
                world = world.with_branch(slot, sent)
        return world

    def unknown(self, world: World) -> Moves:
        """Nobody knows whether the decision is written: ask, and if it is not there, write another first."""
        if world.stream != NEW:
            yield "the coordinator reads the decision", self.adopts(world)
            return
        abort = self.known.tell(world.memory, core.GiveUp(BECAUSE))
        writes = world.writes | {self.known.plan(abort)}
        yield "the coordinator writes an abort", world._replace(writes=writes)

    def adopts(self, world: World) -> World:
        """What the journal says is added to what the coordinator knows, and told to everybody."""
        merged = self.known.record(world.memory, self.known.stories[world.stream])
        said = self.known.decision(merged)
        return self.tells(world._replace(mode=Mode.GONE, memory=NEW, said=said), merged)

    def aborting(self, world: World) -> Moves:
        """Nobody has to write an abort, unless a branch has committed all the same."""
        yield from self.heard(world)
        yield "the coordinator has told all", world._replace(mode=Mode.GONE, memory=NEW)
        for name, branch in zip(self.names, world.branches, strict=True):
            if branch.told and branch.did is COMMIT:
                finished = self.known.tell(world.memory, core.Finish(name, COMMIT))
                events = self.known.durable(self.known.stories[world.memory]) + finished
                writes = world.writes | {self.known.plan(events)}
                written = world._replace(writes=writes, mode=Mode.GONE, memory=NEW)
                yield f"the coordinator hears that {name} has committed", written

    def alone(self, world: World) -> Moves:
        (branch,) = world.branches
        if world.mode is Mode.ALONE:
            # The deadline may pass, or a person may want it: it is too late for that.
            assert self.known.tell(world.memory, core.GiveUp(BECAUSE)) == (), "given up while it commits"
            if branch.did is not None:
                yield "its answer arrives", world._replace(mode=Mode.GONE, said=branch.did)
            yield "its answer is lost", world._replace(mode=Mode.SETTLING)
        elif branch.at is At.COMMITTED:
            yield "it is settled", world._replace(mode=Mode.GONE, said=COMMIT)
        else:
            settled = world.with_branch(0, self.settle(branch))
            yield "it is settled", settled._replace(mode=Mode.GONE, said=ABORT)

    def settle(self, branch: Branch) -> Branch:
        """Whatever of it is still on its way comes too late from now on."""
        return branch._replace(at=At.ABORTED)

    # ── The home ────────────────────────────────────────────────────────────────────────────

    def landed(self, world: World, plan: int) -> Moves:
        """A first event of the coordinator's arrives at the home, or never does."""
        rest = world._replace(writes=world.writes - {plan})
        if world.mode is not Mode.WRITING:
            yield "a write is lost", rest
        if world.stream == NEW:
            written = self.appended(rest, plan)
            yield "a write lands", self.adopts(written) if world.mode is Mode.WRITING else written
        else:
            yield "a write is refused", self.adopts(rest) if world.mode is Mode.WRITING else rest

    def appended(self, world: World, plan: int) -> World:
        """The stream grows, so whoever has read it before will be refused."""
        stale = tuple((other, False) for other, _ in world.plans)
        return world._replace(stream=self.known.record(world.stream, self.known.plans[plan]), plans=stale)

    # ── Recoverers ──────────────────────────────────────────────────────────────────────────

    def recovered(self, world: World) -> Moves:
        for command in self.known.commands[world.stream]:
            if isinstance(command, core.FinishBranch):
                yield "a recoverer tells all", self.tells(world, world.stream)
                break
        for number, (plan, is_fresh) in enumerate(world.plans):
            rest = world._replace(plans=world.plans[:number] + world.plans[number + 1 :])
            if is_fresh:
                yield f"a recoverer writes {shown(self.known.plans[plan])}", self.appended(rest, plan)
                yield "a recoverer crashes", rest
            else:
                yield "a recoverer is refused", rest
        for move, signal in self.findings(world):
            yield from self.planned(world, move, signal)

    def findings(self, world: World) -> Iterator[tuple[str, core.TwoPhaseSignal]]:
        """What a recoverer may have heard, however long ago."""
        for name, branch in zip(self.names, world.branches, strict=True):
            if branch.vote is Vote.YES:
                found = "finds" if branch.at is At.PREPARED else "found long ago"
                yield f"a recoverer {found} {name} in doubt", core.FoundInDoubt(name)
            if branch.at is At.COMMITTED and branch.vote is Vote.YES:
                yield f"a recoverer sees that {name} has committed", core.FoundCommitted(name)
            if branch.told and branch.did is not None:
                yield f"a recoverer hears from {name}", self.answer(name, branch)
        yield "a person puts it right", core.PutRight("ann", BECAUSE)

    def answer(self, name: str, branch: Branch) -> core.TwoPhaseSignal:
        assert branch.did is not None, f"{name} has not finished"
        return core.Finish(name, branch.did)

    def planned(self, world: World, move: str, signal: core.TwoPhaseSignal) -> Moves:
        events = self.known.tell(world.stream, signal)
        if events and len(world.plans) < self.recoverers:
            plans = tuple(sorted((*world.plans, (self.known.plan(events), True))))
            yield move, world._replace(plans=plans)

    # ── Participants ────────────────────────────────────────────────────────────────────────

    def served(self, world: World, slot: int, name: str) -> Moves:
        branch = world.branches[slot]
        if branch.at is At.OPEN:
            if branch.is_asked and len(world.branches) == 1:
                yield f"{name} commits alone", world.with_branch(slot, branch._replace(at=At.COMMITTED))
            elif branch.is_asked:
                for vote in sorted(self.votes[slot], key=str):
                    voted = branch._replace(at=AFTER_VOTE[vote], vote=vote, is_asked=False)
                    yield f"{name} votes {vote.value}", world.with_branch(slot, voted)
            ended = branch._replace(at=At.ABORTED, vote=Vote.NO)
            yield f"{name} loses its work", world.with_branch(slot, ended)
        for decision in branch.told:
            yield (
                f"{name} is told to {decision.value}",
                world.with_branch(slot, self.finish(branch, name, decision)),
            )
        if branch.at is At.PREPARED and world.hands:
            for at in (At.COMMITTED, At.ABORTED):
                done = world.with_branch(slot, branch._replace(at=at, by_hand=True))
                yield f"a person has {name} {at.name.lower()}", done._replace(hands=world.hands - 1)

    def finish(self, branch: Branch, name: str, decision: Decision) -> Branch:
        if branch.at is At.PREPARED:
            return branch._replace(at=At.COMMITTED if decision is COMMIT else At.ABORTED)
        if branch.at is At.OPEN:
            if name in self.late:
                return branch._replace(has_denied=True)
            return branch._replace(at=At.ABORTED, vote=Vote.NO)
        return branch


AFTER_VOTE = {Vote.YES: At.PREPARED, Vote.NO: At.ABORTED, Vote.READ_ONLY: At.READ_ONLY}


def shown(events: Events) -> str:
    """Return what is written, in a few words."""
    return ", ".join(_shown(event) for event in events)


def _shown(event: core.TwoPhaseEvent) -> str:
    match event:
        case core.Decided(decision, branches):
            return f"{decision.value} for {' and '.join(branches)}"
        case core.BranchFinished(branch, did):
            return f"that {branch} did {did.value}"
        case _:
            return "that it is put right"
