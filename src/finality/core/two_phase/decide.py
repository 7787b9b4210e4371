"""What a signal makes true, and what the participants still owe."""

from __future__ import annotations

from functools import reduce
from typing import assert_never

from finality.core.two_phase.events import (
    Accepted,
    AskPerson,
    BranchFinished,
    CommitAlone,
    Decided,
    Decision,
    DurableEvent,
    EndWork,
    Enlist,
    Enlisted,
    Finish,
    FinishBranch,
    FoundCommitted,
    FoundInDoubt,
    GiveUp,
    Heard,
    Prepare,
    PutRight,
    TwoPhaseCommand,
    TwoPhaseEvent,
    TwoPhaseSignal,
    Vote,
    Voted,
    WorkEnded,
)
from finality.core.two_phase.state import OPEN, WORKING, TwoPhaseState, evolve


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
    if state.branches.get(branch) is not WORKING:
        return ()
    voted = Voted(branch, vote)
    if vote is Vote.NO:
        return voted, _abort(evolve(state, voted), because, "")
    if state.waits_for_more_than(branch):
        return (voted,)
    return voted, Decided(Decision.COMMIT, evolve(state, voted).prepared)


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
    may_be = tuple([name for name, at in state.branches.items() if at in OPEN])
    return Decided(Decision.ABORT, may_be, because, by)


def _commits_alone(state: TwoPhaseState) -> bool:
    return state.is_voting and tuple(state.branches.values()) == (WORKING,)


def outstanding(state: TwoPhaseState) -> tuple[TwoPhaseCommand, ...]:
    """Return what the participants still owe."""
    if state.decision is not None:
        if unfinished := state.unfinished:
            return tuple([FinishBranch(name, state.decision) for name in unfinished])
        return (AskPerson(state.diverged),) if state.diverged and not state.is_accepted else ()
    if not state.is_voting:
        return ()
    working = [name for name, at in state.branches.items() if at is WORKING]
    return tuple(map(CommitAlone if _commits_alone(state) else Prepare, working))


def is_durable(event: TwoPhaseEvent) -> bool:
    """Say whether the journal keeps *event*: a crash may lose the others, and the vote is abort then."""
    return isinstance(event, DurableEvent)
