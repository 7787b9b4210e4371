"""What the suite needs of each participant's surroundings: its database, a DBA, and an axe.

A new adapter joins by a class that fulfils ``World`` and a line in ``kinds``.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Protocol, Self, TypeVar

import pytest

from finality.adapters.system.environment import SystemEnvironment
from finality.core.ids import TransactionId
from finality.core.two_phase import Decision, Vote
from finality.ports.participant import BranchId

T = TypeVar("T")

PATIENCE_SECONDS = 20.0
HOME = "0123456789ab"

# Any: each adapter's branch offers statements, calls or whatever else is its own.
AnyParticipant = Any
AnyBranch = Any


class World(Protocol):
    """One database with a table of items, each a number that may be there once.

    Attributes:
        takes_statements: A branch has ``execute`` and ``savepoint``.
        can_defer: A constraint may be checked as late as the vote.
        takes_more: A branch may add several items, and what fails in it is not forgotten.
        takes_several: Several branches may work, or be in doubt, at once.
        can_commit_by_hand: A DBA could commit a branch in doubt.
        can_cut: A branch has a session, which may end before it votes.
        can_die: The server can be killed and started again.
        recovers: Its recovery is its own, and not that of another kind.
        insert_code: An expression that adds item 1 to ``branch``, for a process of its own.
        refused: Statements that a branch refuses at once, each with a word of the reason.
    """

    takes_statements: bool
    can_defer: bool
    takes_more: bool
    takes_several: bool
    can_commit_by_hand: bool
    can_cut: bool
    can_die: bool
    recovers: bool
    insert_code: str
    refused: tuple[tuple[str, str], ...]

    @classmethod
    def make(cls, request: pytest.FixtureRequest) -> Self:
        """Return an empty one; servers are fixtures, which a session starts once."""

    def participant(self, name: str = "bank") -> AnyParticipant:
        """Return one more participant on the database, as another process would make it."""

    def code(self) -> str:
        """Return an expression that makes a participant named bank, for a process of its own."""

    async def insert(self, branch: AnyBranch, n: int) -> None:
        """Add an item within the branch."""

    async def look(self, branch: AnyBranch) -> list[int]:
        """Read the items within the branch."""

    async def insert_late(self, branch: AnyBranch, n: int) -> None:
        """Add an item that breaks a constraint which is checked at the vote."""

    def items(self) -> list[int]:
        """Return the items that are committed, asked by a client of no kin to the adapter."""

    def prepared(self) -> list[str]:
        """Return the names of all prepared branches, asked likewise."""

    def shows_holding(self, holds: str) -> bool:
        """Say whether *holds* is what a branch that added an item holds."""

    def prepare_foreign(self) -> str:
        """Prepare a branch that is none of ours, by hand; return its name."""

    def finish_by_hand(self, branch: BranchId, decision: Decision) -> None:
        """Finish a prepared branch as a DBA would."""

    def hold_witnesses(self) -> contextlib.AbstractContextManager[Callable[[], bool]]:
        """Let whoever writes a witness wait, until the block ends; give what says whether one does."""

    def cut(self, branch: AnyBranch) -> None:
        """End the branch's session at the server, as a DBA or a broken line would."""

    def kill(self) -> None:
        """Kill the server, and start it again."""

    def close(self) -> None:
        """Leave nothing prepared behind."""


class ServerWorld(World, Protocol):
    """A database whose server dies and comes back, which takes statements; ``can_die`` says so."""

    def participant(self, name: str = "bank", **options: Any) -> AnyParticipant:
        """Return one more participant, with options of its adapter's."""

    async def insert_slyly(self, branch: AnyBranch, n: int) -> None:
        """Add an item by a statement that looks as if it only read."""

    def witnesses(self) -> int:
        """Return how many witnesses are kept."""


def id_of(transaction: str, *, home: str = HOME, participant: str = "bank", number: int = 0) -> BranchId:
    """Return a branch's id."""
    return BranchId(home, TransactionId(transaction), participant, number)


@contextlib.asynccontextmanager
async def opened(world: World, name: str = "bank", **options: Any) -> AsyncIterator[AnyParticipant]:
    """Give one more participant, opened."""
    maker: Any = world.participant  # Options are the adapter's own.
    participant = maker(name, **options)
    await participant.open(SystemEnvironment())
    try:
        yield participant
    finally:
        await participant.close()


async def worked(world: World, participant: AnyParticipant, id: BranchId, *items: int) -> AnyBranch:
    """Return a branch under way that has added *items*."""
    branch = await participant.begin(id)
    for n in items:
        await world.insert(branch, n)
    return branch


async def prepared(world: World, participant: AnyParticipant, id: BranchId, *items: int) -> None:
    """Leave a branch in doubt that has added *items*."""
    branch = await worked(world, participant, id, *items)
    assert await branch.prepare() is Vote.YES


async def until(is_true: Callable[[], bool]) -> None:
    """Wait until it is; a wait without end is a failure."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        assert time.monotonic() < give_up, "it never came to that"
        await asyncio.sleep(0.01)


async def patiently(ask: Callable[[], Awaitable[T]], *errors: type[Exception]) -> T:
    """Return the answer, asking again as long as it is one of *errors*."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return await ask()
        except errors:
            if time.monotonic() > give_up:
                raise
            await asyncio.sleep(0.02)


def run(story: Coroutine[Any, Any, T]) -> T:
    """Run a story to its end, which comes soon."""

    async def bounded() -> T:
        async with asyncio.timeout(60):
            return await story

    return asyncio.run(bounded())
