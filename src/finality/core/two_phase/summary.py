"""A decided transaction in one line, and the identity of the home that keeps decisions."""

from __future__ import annotations

from dataclasses import dataclass

from finality.core.ids import StreamName
from finality.core.saga.summary import NEVER, Summary
from finality.core.two_phase.events import Decision
from finality.core.two_phase.state import TwoPhaseState

KIND = "two-phase"
DEFINITION = "1"  # Of the events above; another version of them gets another number.

COMMITTING, ABORTING = "committing", "aborting"
COMMITTED, ABORTED = "committed", "aborted"
STUCK = "stuck"  # Every branch has finished, one of them against the decision: a person is needed.


IS_COMMITTING, IS_ABORTING = Summary(COMMITTING, wake_at=NEVER), Summary(ABORTING, wake_at=NEVER)
HAS_COMMITTED, HAS_ABORTED = Summary(COMMITTED, has_ended=True), Summary(ABORTED, has_ended=True)
IS_STUCK = Summary(STUCK, wake_at=NEVER)


def summary_of(state: TwoPhaseState) -> Summary:
    """Return what the journal keeps beside the stream of a decided transaction."""
    assert state.decision is not None, "only what is decided has a stream"
    is_commit = state.decision is Decision.COMMIT
    if state.unfinished:
        return IS_COMMITTING if is_commit else IS_ABORTING
    if state.diverged and not state.is_accepted:
        return IS_STUCK
    return HAS_COMMITTED if is_commit else HAS_ABORTED


@dataclass(frozen=True, slots=True)
class HomeNamed:
    """The first event of the stream ``HOME_STREAM``: the home store's identity, for ever.

    It is part of every branch's name, so that two systems that share a database leave each
    other's branches alone.
    """

    identity: str


HOME_STREAM = StreamName("home")
