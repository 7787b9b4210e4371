"""Where those who take part stand, and what they say to each other."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from finality.core.two_phase import Decision

COORDINATOR = ""  # Agents have names; the coordinator is the one without.
COORDINATORS_TERM = 0  # The agent at place n of the line is in charge in term n + 1.


class Standing(Enum):
    """How far somebody has come."""

    UNCERTAIN = "uncertain"
    PRECOMMITTED = "pre-committed"
    COMMITTED = "committed"
    ABORTED = "aborted"

    @property
    def decision(self) -> Decision | None:
        """Return the outcome, for one who knows it."""
        return OUTCOMES.get(self)


OUTCOMES = {Standing.COMMITTED: Decision.COMMIT, Standing.ABORTED: Decision.ABORT}
CONCLUDED = {decision: standing for standing, decision in OUTCOMES.items()}


@dataclass(frozen=True, slots=True)
class Report:
    """Where somebody stands, in its own words.

    Attributes:
        term: The latest term that it has joined; it obeys nobody of an earlier one.
        was_away: It has crashed since it voted, so it takes no part unless all have.
    """

    standing: Standing
    term: int = COORDINATORS_TERM
    was_away: bool = False


@dataclass(frozen=True, slots=True)
class AskStanding:
    """Ask somebody where it stands, again and again until it answers or is taken for dead.

    Attributes:
        term: It joins this term, unless it has joined a later one.
    """

    peer: str
    term: int = COORDINATORS_TERM


@dataclass(frozen=True, slots=True)
class AskPreCommit:
    """Ask an agent to pre-commit, likewise."""

    agent: str
    term: int = COORDINATORS_TERM
