"""An agent: runs beside a participant and can end a three-phase commit without its coordinator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from finality.core.three_phase.standing import Report
from finality.core.two_phase import Decision, Vote
from finality.ports.participant import BranchId


@dataclass(frozen=True, slots=True)
class Address:
    """Where an agent can be asked about its branch.

    Attributes:
        name: The branch's name in its transaction.
        branch: Its whole id, as text.
    """

    name: str
    url: str
    branch: str


@runtime_checkable
class RunsAgent(Protocol):
    """What a participant offers beside ``Participant`` if it runs an agent."""

    async def agent_url(self) -> str | None:
        """Return where other agents reach its agent; None if it runs none.

        Raises:
            Unavailable: It is out of reach.
        """
        ...

    async def vote(self, branch: BranchId, line: Sequence[Address]) -> Vote:
        """Let it vote; after a yes it knows all the others, and may end the transaction with them.

        Raises:
            Unavailable: Nobody knows whether it has voted.
        """
        ...

    async def pre_commit(self, branch: BranchId) -> Report:
        """Ask it to pre-commit; return where it stands then. Raises as ``vote``."""
        ...

    async def standing(self, branch: BranchId) -> Report:
        """Return where it stands. Raises as ``vote``."""
        ...

    async def conclude(self, branch: BranchId, decision: Decision) -> None:
        """Tell it the outcome. Raises as ``vote``."""
        ...
