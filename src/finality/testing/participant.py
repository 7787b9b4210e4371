"""A participant beyond the network, for simulations: it outlives every crash, and may be cut off.

It keeps whole numbers by name. A number that a branch has changed is locked until the branch ends,
and none may end below zero: that is how its votes come to be a no.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from finality.core.errors import Conflict, OutcomeUnknown, Refused, Unavailable
from finality.core.two_phase import Decision, Vote
from finality.ports.environment import Environment
from finality.ports.participant import BranchId, InDoubt


@dataclass(slots=True)
class SimulatedBranch:
    """A branch under way: what it adds to each number."""

    id: BranchId
    participant: SimulatedParticipant
    changes: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, amount: int) -> None:
        """Add to a number.

        Raises:
            Conflict: Another branch has changed it, and has not ended.
        """
        holder = self.participant.locks.setdefault(name, self.id)
        if holder != self.id:
            raise Conflict(f"{name} is locked by branch {holder}: run it again")
        self.changes[name] = self.changes.get(name, 0) + amount

    def read(self, name: str) -> int:
        """Return a number as this branch sees it."""
        return self.participant.numbers.get(name, 0) + self.changes.get(name, 0)

    async def prepare(self) -> Vote:
        """Vote: no if a number would end below zero."""
        there = self.participant
        there.arrive()
        if not self.changes:
            return Vote.READ_ONLY
        below = [name for name in self.changes if self.read(name) < 0]
        if below:
            there.forget(self.id)
            raise Refused(f"{below[0]} would end below zero", branch=self.id.name)
        there.prepared[self.id] = self.changes
        there.voted.append(self.id)
        there.answer()
        return Vote.YES

    async def commit(self) -> None:
        """Commit in one phase."""
        there = self.participant
        try:
            there.arrive()
            below = [name for name in self.changes if self.read(name) < 0]
            if below or self.id in there.witness:
                there.forget(self.id)
                raise Refused(f"{below} would end below zero", branch=self.id.name)
            there.prepared[self.id] = self.changes
            there.end(self.id, Decision.COMMIT)
            there.answer()
        except Unavailable as lost:
            raise OutcomeUnknown(str(lost), transaction_id=self.id.transaction) from lost

    async def abort(self) -> None:
        """Leave nothing of it."""
        if self.id not in self.participant.prepared:
            self.participant.forget(self.id)


class SimulatedParticipant:
    """Fulfils ``ports.participant.Participant``.

    Attributes:
        numbers: What is committed.
        prepared: What each branch in doubt would change.
        voted: The branches that have voted yes, in this order.
        witness: What each finished branch has done.
        locks: Who may change a number.
        cut_at: The message, counted from 1, that is lost on its way; None loses none.
        messages: How many messages there were, there and back.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.numbers: dict[str, int] = {}
        self.prepared: dict[BranchId, dict[str, int]] = {}
        self.voted: list[BranchId] = []
        self.witness: dict[BranchId, Decision] = {}
        self.locks: dict[str, BranchId] = {}
        self.cut_at: int | None = None
        self.messages = 0

    # ── The network, and what it carries ────────────────────────────────────────────────────

    def arrive(self) -> None:
        """Let a request arrive.

        Raises:
            Unavailable: It is lost.
        """
        self.messages += 1
        if self.messages == self.cut_at:
            raise Unavailable(f"message {self.messages} of participant {self.name} was lost")

    answer = arrive  # An answer may get lost just so.

    def forget(self, branch: BranchId) -> None:
        """Let go of what a branch has locked."""
        self.locks = {name: holder for name, holder in self.locks.items() if holder != branch}

    def end(self, branch: BranchId, decision: Decision) -> None:
        """Let a prepared branch take effect, or none."""
        changes = self.prepared.pop(branch)
        if decision is Decision.COMMIT:
            for name, amount in changes.items():
                self.numbers[name] = self.numbers.get(name, 0) + amount
            self.witness[branch] = Decision.COMMIT
        self.forget(branch)

    def crash(self) -> None:
        """Lose what is not prepared, as a process does that is killed."""
        self.locks = {name: holder for name, holder in self.locks.items() if holder in self.prepared}

    # ── The port ────────────────────────────────────────────────────────────────────────────

    async def open(self, environment: Environment) -> None:
        """It is always open."""

    async def close(self) -> None:
        """It outlives whoever uses it."""

    async def begin(self, branch: BranchId, *, deadline: float | None = None) -> SimulatedBranch:
        """Begin a branch."""
        self.arrive()
        return SimulatedBranch(branch, self)

    async def finish(self, branch: BranchId, decision: Decision) -> Decision:
        """Finish a prepared branch; the witness answers for the others."""
        self.arrive()
        if branch in self.prepared:
            self.end(branch, decision)
        self.answer()
        return self.witness.get(branch, Decision.ABORT)

    async def settle(self, branch: BranchId) -> Decision:
        """Say what became of a commit in one phase."""
        self.arrive()
        return self.witness.setdefault(branch, Decision.ABORT)

    async def in_doubt(self, *, says_holds: bool = False) -> Sequence[InDoubt]:
        """Return what is prepared."""
        self.arrive()
        return [InDoubt(branch, holds=", ".join(changes)) for branch, changes in self.prepared.items()]

    async def committed(self, *, within: timedelta, limit: int) -> Sequence[BranchId]:
        """Return branches that have voted and committed lately."""
        self.arrive()
        return [branch for branch in self.voted if self.witness.get(branch) is Decision.COMMIT][-limit:][::-1]

    async def health(self) -> list[tuple[str, bool, str]]:
        """Return nothing: it is always well."""
        return []
