"""Two-phase commit with presumed abort: every branch commits, or none does.

```
                          a vote is no, or missing
    working ──▶ voting ──────────────────────────────▶ decided ABORT   (not written: see below)
                  │ all yes                                │
                  └───────▶ decided COMMIT (durable) ──────┴──▶ finishing ──▶ ended
```

The decision is the *first* event of the transaction's stream, and a stream begins once: whoever
writes it first has decided. So a coordinator that wakes up late cannot commit what somebody else
has given up, and any number of nodes may recover at once.

**Presumed abort.** A branch in doubt whose transaction has no stream was never decided. Whoever
finds it writes ``Decided(ABORT)`` as that first event, and aborts the branch only then. An abort
that every branch has heard of needs no record at all.

Votes are kept in memory: they are what a crash may lose.

Source: Transaction Management in the R* Distributed Database Management System, C. Mohan,
B. Lindsay, R. Obermarck, 1986.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import reduce
from types import MappingProxyType
from typing import assert_never

from finality.core.ids import StreamName
from finality.core.saga.summary import NEVER, Summary

# ── Words ───────────────────────────────────────────────────────────────────────────────────


class Decision(Enum):
    """What is decided for all branches, once, or what one branch has done."""

    COMMIT = "commit"
    ABORT = "abort"


class Vote(Enum):
    """A participant's answer to prepare."""

    YES = "yes"
    READ_ONLY = "read only"
    NO = "no"


class BranchState(Enum):
    """Where a branch is, as its coordinator knows."""

    WORKING = "working"
    PREPARED = "prepared"
    LEFT = "left"  # It was read-only, or has aborted by itself: it needs no decision.
    COMMITTED = "committed"
    ABORTED = "aborted"


# ── Events: the first three are volatile, the others durable ────────────────────────────────


@dataclass(frozen=True, slots=True)
class Enlisted:
    """A branch has begun."""

    branch: str


@dataclass(frozen=True, slots=True)
class WorkEnded:
    """The block has ended: the branches may vote."""


@dataclass(frozen=True, slots=True)
class Voted:
    """A branch has voted."""

    branch: str
    vote: Vote


@dataclass(frozen=True, slots=True)
class Decided:
    """The transaction is decided.

    Attributes:
        branches: Those that need to hear of it.
        because: Why, for an abort or for a person's decision.
        by: The person who decided; empty for a node.
    """

    decision: Decision
    branches: tuple[str, ...]
    because: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class BranchFinished:
    """A branch has done what was decided, or something else: a heuristic outcome."""

    branch: str
    did: Decision


@dataclass(frozen=True, slots=True)
class Accepted:
    """A person has put a heuristic outcome right, and says how."""

    by: str
    because: str


DurableEvent = Decided | BranchFinished | Accepted
TwoPhaseEvent = Enlisted | WorkEnded | Voted | DurableEvent


# ── Signals ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Enlist:
    """A branch begins."""

    branch: str


@dataclass(frozen=True, slots=True)
class EndWork:
    """The block ends well."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A branch's vote arrives. For one that was lost say ``GiveUp``: it may have been a yes."""

    branch: str
    vote: Vote
    because: str = ""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The block failed, the deadline passed, or a person wants it: abort, unless it is decided."""

    because: str
    by: str = ""


@dataclass(frozen=True, slots=True)
class FoundInDoubt:
    """A prepared branch was found that its transaction's coordinator has left behind."""

    branch: str


@dataclass(frozen=True, slots=True)
class FoundCommitted:
    """A prepared branch's witness says that it has committed, whoever told it to."""

    branch: str


@dataclass(frozen=True, slots=True)
class Finish:
    """A branch says what it has done."""

    branch: str
    did: Decision


@dataclass(frozen=True, slots=True)
class PutRight:
    """A person has dealt with a heuristic outcome."""

    by: str
    because: str


TwoPhaseSignal = Enlist | EndWork | Heard | GiveUp | FoundInDoubt | FoundCommitted | Finish | PutRight


# ── Commands ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Prepare:
    """Ask a branch for its vote."""

    branch: str


@dataclass(frozen=True, slots=True)
class CommitAlone:
    """Let the only branch commit in one phase: its own commit is the decision."""

    branch: str


@dataclass(frozen=True, slots=True)
class FinishBranch:
    """Tell a branch the decision until it answers."""

    branch: str
    decision: Decision


@dataclass(frozen=True, slots=True)
class AskPerson:
    """Branches have done different things; only a person can put that right."""

    branches: tuple[str, ...]


TwoPhaseCommand = Prepare | CommitAlone | FinishBranch | AskPerson


# ── State ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class TwoPhaseState:
    """A transaction, as far as its coordinator knows it."""

    branches: Mapping[str, BranchState] = field(default_factory=lambda: MappingProxyType({}))
    is_voting: bool = False
    decision: Decision | None = None
    because: str = ""
    is_accepted: bool = False

    @property
    def diverged(self) -> tuple[str, ...]:
        """Return the branches that have not done what was decided."""
        if self.decision is None:
            return ()
        wrong = BranchState.ABORTED if self.decision is Decision.COMMIT else BranchState.COMMITTED
        return tuple(name for name, at in self.branches.items() if at is wrong)

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Return the branches that must still hear the decision."""
        if self.decision is None:
            return ()
        open_ = (BranchState.WORKING, BranchState.PREPARED)
        return tuple(name for name, at in self.branches.items() if at in open_)

    @property
    def has_ended(self) -> bool:
        """Say whether nothing is left to do, for anybody."""
        return self.decision is not None and not self.unfinished and (self.is_accepted or not self.diverged)


NEW = TwoPhaseState()


def evolve(state: TwoPhaseState, event: TwoPhaseEvent) -> TwoPhaseState:
    """Return what *event* makes of *state*."""
    match event:
        case Enlisted(branch):
            return _with(state, branch, BranchState.WORKING)
        case WorkEnded():
            return replace(state, is_voting=True)
        case Voted(branch, Vote.YES):
            return _with(state, branch, BranchState.PREPARED)
        case Voted(branch, _):
            return _with(state, branch, BranchState.LEFT)
        case Decided(decision, branches, because):
            named = dict.fromkeys(branches, BranchState.PREPARED)
            merged = MappingProxyType({**state.branches, **named})
            return replace(state, branches=merged, decision=decision, because=because)
        case BranchFinished(branch, did):
            done = BranchState.COMMITTED if did is Decision.COMMIT else BranchState.ABORTED
            # What a person has put right before does not excuse one more branch that went wrong.
            is_accepted = state.is_accepted and did is state.decision
            return replace(_with(state, branch, done), is_accepted=is_accepted)
        case Accepted():
            return replace(state, is_accepted=True)
        case _:
            assert_never(event)


def _with(state: TwoPhaseState, branch: str, at: BranchState) -> TwoPhaseState:
    return replace(state, branches=MappingProxyType({**state.branches, branch: at}))


def decide(state: TwoPhaseState, signal: TwoPhaseSignal) -> tuple[TwoPhaseEvent, ...]:
    """Return what *signal* makes true; nothing when it is late or repeated."""
    match signal:
        case Enlist(branch):
            is_open = not state.is_voting and state.decision is None
            return (Enlisted(branch),) if is_open and branch not in state.branches else ()
        case EndWork():
            return () if state.is_voting or state.decision is not None else (WorkEnded(),)
        case Heard(branch, vote, because):
            return _hear(state, branch, vote, because)
        case GiveUp(because, by):
            is_too_late = state.decision is not None or _commits_alone(state)
            return () if is_too_late else (_abort(state, because, by),)
        case FoundInDoubt(branch):
            return _find(state, branch)
        case FoundCommitted(branch):
            return _accuse(state, branch)
        case Finish(branch, did):
            return (BranchFinished(branch, did),) if branch in state.unfinished else ()
        case PutRight(by, because):
            return (Accepted(by, because),) if state.diverged and not state.is_accepted else ()
        case _:
            assert_never(signal)


def _hear(state: TwoPhaseState, branch: str, vote: Vote, because: str) -> tuple[TwoPhaseEvent, ...]:
    if state.decision is not None or not state.is_voting:
        return ()
    if state.branches.get(branch) is not BranchState.WORKING:
        return ()
    voted = Voted(branch, vote)
    after = evolve(state, voted)
    if vote is Vote.NO:
        return voted, _abort(after, because, "")
    if BranchState.WORKING in after.branches.values():
        return (voted,)
    prepared = tuple(name for name, at in after.branches.items() if at is BranchState.PREPARED)
    return voted, Decided(Decision.COMMIT, prepared)


def _find(state: TwoPhaseState, branch: str) -> tuple[TwoPhaseEvent, ...]:
    """Name a branch that the abort did not, or that answered before its late prepare arrived."""
    if state.decision is None:
        return (Decided(Decision.ABORT, (branch,), "its coordinator left it undecided"),)
    if state.decision is Decision.COMMIT:
        assert branch in state.branches, f"{branch} is prepared, and the commit did not name it"
        return ()
    is_known = branch in state.unfinished or branch in state.diverged
    return () if is_known else (Decided(Decision.ABORT, (branch,), state.because),)


def _accuse(state: TwoPhaseState, branch: str) -> tuple[TwoPhaseEvent, ...]:
    """Record that somebody has committed a branch by hand that nobody else would ask any more."""
    found = () if state.decision is Decision.COMMIT else _find(state, branch)
    finish = Finish(branch, Decision.COMMIT)
    return found + decide(reduce(evolve, found, state), finish) if found else ()


def _abort(state: TwoPhaseState, because: str, by: str) -> Decided:
    """Name every branch that may be prepared: a vote that was lost may have been a yes."""
    may_be = (BranchState.WORKING, BranchState.PREPARED)
    return Decided(
        Decision.ABORT, tuple(name for name, at in state.branches.items() if at in may_be), because, by
    )


def _commits_alone(state: TwoPhaseState) -> bool:
    return state.is_voting and tuple(state.branches.values()) == (BranchState.WORKING,)


def outstanding(state: TwoPhaseState) -> tuple[TwoPhaseCommand, ...]:
    """Return what the participants still owe."""
    if state.decision is not None:
        if state.unfinished:
            return tuple(FinishBranch(name, state.decision) for name in state.unfinished)
        return (AskPerson(state.diverged),) if state.diverged and not state.is_accepted else ()
    if not state.is_voting:
        return ()
    working = (name for name, at in state.branches.items() if at is BranchState.WORKING)
    return tuple(map(CommitAlone if _commits_alone(state) else Prepare, working))


def is_durable(event: TwoPhaseEvent) -> bool:
    """Say whether the journal keeps *event*: a crash may lose the others, and the vote is abort then."""
    return isinstance(event, DurableEvent)


# ── The transaction in one line ─────────────────────────────────────────────────────────────

KIND = "two-phase"
DEFINITION = "1"  # Of the events above; another version of them gets another number.

COMMITTING, ABORTING = "committing", "aborting"
COMMITTED, ABORTED = "committed", "aborted"


def summary_of(state: TwoPhaseState) -> Summary:
    """Return what the journal keeps beside the stream of a decided transaction."""
    assert state.decision is not None, "only what is decided has a stream"
    is_commit = state.decision is Decision.COMMIT
    if state.has_ended:
        return Summary(COMMITTED if is_commit else ABORTED, has_ended=True)
    if not state.unfinished:
        return Summary("stuck", wake_at=NEVER)
    return Summary(COMMITTING if is_commit else ABORTING, wake_at=NEVER)


@dataclass(frozen=True, slots=True)
class HomeNamed:
    """The first event of the stream ``HOME_STREAM``: the home store's identity, for ever.

    It is part of every branch's name, so that two systems that share a database leave each
    other's branches alone.
    """

    identity: str


HOME_STREAM = StreamName("home")
