"""Where a transaction is, as its coordinator knows it, and what each event makes of that."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, assert_never

from finality.core.two_phase.events import (
    Accepted,
    BranchFinished,
    BranchState,
    Decided,
    Decision,
    Enlisted,
    TwoPhaseEvent,
    Vote,
    Voted,
    WorkEnded,
)

# An enumeration's member is looked up by its class anew each time, at four times the cost of a name.
WORKING, PREPARED, LEFT, COMMITTED, ABORTED = BranchState

OPEN = (WORKING, PREPARED)  # A branch that must still hear the decision.
DID = {
    PREPARED: "in doubt",
    COMMITTED: "committed",
    ABORTED: "aborted",
}


class TwoPhaseState(NamedTuple):
    """A transaction, as far as its coordinator knows it."""

    branches: Mapping[str, BranchState] = MappingProxyType({})
    is_voting: bool = False
    decision: Decision | None = None
    because: str = ""
    is_accepted: bool = False

    @property
    def diverged(self) -> tuple[str, ...]:
        """Return the branches that have not done what was decided."""
        if self.decision is None:
            return ()
        wrong = ABORTED if self.decision is Decision.COMMIT else COMMITTED
        return tuple([name for name, at in self.branches.items() if at is wrong])

    def waits_for_more_than(self, branch: str) -> bool:
        """Say whether any other branch than *branch* has yet to vote."""
        return any(at is WORKING and name != branch for name, at in self.branches.items())

    @property
    def prepared(self) -> tuple[str, ...]:
        """Return the branches that have voted yes, and have not heard of the decision."""
        return tuple([name for name, at in self.branches.items() if at is PREPARED])

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Return the branches that must still hear the decision."""
        if self.decision is None:
            return ()
        return tuple([name for name, at in self.branches.items() if at in OPEN])

    @property
    def did(self) -> dict[str, str]:
        """Return in words what each branch that took part to the end has done."""
        return {name: DID[at] for name, at in self.branches.items() if at in DID}

    @property
    def has_ended(self) -> bool:
        """Say whether nothing is left to do, for anybody."""
        return self.decision is not None and not self.unfinished and (self.is_accepted or not self.diverged)


NEW = TwoPhaseState()


def evolve(state: TwoPhaseState, event: TwoPhaseEvent) -> TwoPhaseState:
    """Return what *event* makes of *state*."""
    match event:
        case Enlisted(branch):
            return _with(state, branch, WORKING)
        case WorkEnded():
            return TwoPhaseState(state.branches, True, state.decision, state.because, state.is_accepted)
        case Voted(branch, Vote.YES):
            return _with(state, branch, PREPARED)
        case Voted(branch, _):
            return _with(state, branch, LEFT)
        case Decided(decision, branches, because):
            named = dict.fromkeys(branches, PREPARED)
            return TwoPhaseState(
                {**state.branches, **named}, state.is_voting, decision, because, state.is_accepted
            )
        case BranchFinished(branch, did):
            done = COMMITTED if did is Decision.COMMIT else ABORTED
            # What a person has put right before does not excuse one more branch that went wrong.
            if state.is_accepted and did is not state.decision:
                state = state._replace(is_accepted=False)
            return _with(state, branch, done)
        case Accepted():
            return state._replace(is_accepted=True)
        case _:
            assert_never(event)


def _with(state: TwoPhaseState, branch: str, at: BranchState) -> TwoPhaseState:
    # Not _replace, which takes three times as long: this happens at every step of every transaction.
    return TwoPhaseState(
        {**state.branches, branch: at}, state.is_voting, state.decision, state.because, state.is_accepted
    )
