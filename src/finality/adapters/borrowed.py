"""Branches on sessions of the user's own library, such as SQLAlchemy's: no second connection for their work.

The library works as always; the vote is said on the very connection that it works on, each database
in its own way. What needs no session is asked of the participant of the same database and name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

from finality.ports.branch_names import check_branch
from finality.ports.environment import Environment
from finality.ports.participant import Branch, BranchId, Participant


class SessionBranch(Branch, Protocol):
    """A branch on a session of the user's library.

    Attributes:
        session: The library's own. Its commits and rollbacks are those of savepoints: the branch
            ends with the transaction's block.
    """

    session: Any


class BorrowingParticipant(ABC):
    """Fulfils ``ports.participant.Participant`` but for how a branch begins."""

    def __init__(self, recovery: Participant[Any]) -> None:
        self.name = recovery.name
        self._open_recovery = recovery.open
        self.finish = recovery.finish
        self.settle = recovery.settle
        self.in_doubt = recovery.in_doubt
        self.committed = recovery.committed
        self.health = recovery.health
        self.close = recovery.close
        self._environment: Environment

    async def open(self, environment: Environment) -> None:
        """Let the recovery connect."""
        self._environment = environment
        await self._open_recovery(environment)

    async def begin(self, branch: BranchId, *, deadline: float | None = None) -> SessionBranch:
        """Begin a branch on a session of its own.

        Raises:
            Unavailable: The database is out of reach.
        """
        check_branch(branch)
        return await self._begin(branch, deadline)

    @abstractmethod
    async def _begin(self, branch: BranchId, deadline: float | None) -> SessionBranch: ...


def original_of(error: BaseException) -> BaseException:
    """Return the driver's error, which the library may have wrapped."""
    return getattr(error, "orig", None) or error
