"""What the tests of reservations share: seats, kinds of holds, and a participant over a node's store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import finality
from finality.core.ids import TransactionId
from finality.patterns.reservation import code_of
from finality.ports.environment import Environment
from finality.ports.participant import BranchId
from finality.runtime.reservations.branch import ReservationBranch
from finality.runtime.reservations.participant import Reservations
from tests.integration.kit import eventually

T = TypeVar("T")

HOME = "0123456789ab"
NAME = "reservations"


class Trouble:
    """Lets confirms and cancels fail, so many times."""

    left = 0

    def here(self) -> None:
        """Fail, if any trouble is left."""
        if self.left:
            self.left -= 1
            raise ConnectionError("the printer is out of paper")


TROUBLE = Trouble()


@dataclass(frozen=True)
class Hold(finality.Reservation[str]):
    """Holds a seat, in turns of the store."""

    seat: str

    def try_(self, tx: finality.SyncTx) -> str:
        state = tx.execute("SELECT state FROM seat WHERE id = $1", self.seat).scalar()
        tx.execute("UPDATE seat SET state = 'held', holds = holds + 1 WHERE id = $1", self.seat)
        if state != "free":
            raise finality.Refused(f"seat {self.seat} is {state}")
        return f"ticket {self.seat}"

    def confirm(self, tx: finality.SyncTx, held: str) -> None:
        tx.execute("UPDATE seat SET state = 'sold', ends = ends + 1 WHERE id = $1", held.split()[1])
        TROUBLE.here()

    def cancel(self, tx: finality.SyncTx, held: str) -> None:
        tx.execute("UPDATE seat SET state = 'free', ends = ends + 1 WHERE id = $1", held.split()[1])
        TROUBLE.here()


@dataclass(frozen=True)
class AsyncHold(finality.Reservation[str]):
    """Does the same in scopes."""

    seat: str

    async def try_(self, tx: finality.Tx) -> str:
        state = (await tx.execute("SELECT state FROM seat WHERE id = $1", self.seat)).scalar()
        await tx.execute("UPDATE seat SET state = 'held', holds = holds + 1 WHERE id = $1", self.seat)
        if state != "free":
            raise finality.Refused(f"seat {self.seat} is {state}")
        return f"ticket {self.seat}"

    async def confirm(self, tx: finality.Tx, held: str) -> None:
        await tx.execute("UPDATE seat SET state = 'sold', ends = ends + 1 WHERE id = $1", held.split()[1])
        TROUBLE.here()

    async def cancel(self, tx: finality.Tx, held: str) -> None:
        await tx.execute("UPDATE seat SET state = 'free', ends = ends + 1 WHERE id = $1", held.split()[1])
        TROUBLE.here()


@dataclass(frozen=True)
class ShortHold(Hold, expires=timedelta(seconds=30)):
    """Is promised for half a minute."""


KINDS = {cls.__name__: code_of(cls) for cls in (Hold, AsyncHold, ShortHold)}
SEATS = (
    "CREATE TABLE IF NOT EXISTS seat (id TEXT PRIMARY KEY, state TEXT, holds INTEGER, ends INTEGER)",
    "INSERT INTO seat VALUES ('1', 'free', 0, 0), ('2', 'free', 0, 0), ('3', 'free', 0, 0) "
    "ON CONFLICT DO NOTHING",
)


def id_of(transaction: str, *, name: str = NAME, number: int = 0) -> BranchId:
    """Return a branch's id."""
    return BranchId(HOME, TransactionId(transaction), name, number)


@dataclass(frozen=True)
class Place:
    """A node, and the reservations in its home store.

    Attributes:
        elsewhere: The same as a node sees it that knows none of the classes.
    """

    node: finality.AsyncNode
    there: Reservations
    elsewhere: Reservations

    async def seats(self) -> str:
        """Return the state of each seat: ``free held sold``."""
        return " ".join(state for (state,) in await self.node.query("SELECT state FROM seat ORDER BY id"))

    async def effects(self, seat: str) -> tuple[int, int]:
        """Return how often a seat was held, and how often that ended."""
        [found] = await self.node.query("SELECT holds, ends FROM seat WHERE id = $1", seat)
        return found[0], found[1]

    async def hold(self, reservation: Any, transaction: str = "t1") -> ReservationBranch:
        """Return a branch that holds it."""
        branch = await self.there.begin(id_of(transaction))
        await branch.reserve(type(reservation).__name__, reservation)
        return branch

    async def doubts(self) -> list[str]:
        """Return the transactions in doubt."""
        return [doubt.branch.transaction for doubt in await self.there.in_doubt()]


async def becomes(ask: Callable[[], Awaitable[T]], expected: T) -> None:
    """Wait until *ask* answers what is expected."""

    async def is_so() -> bool:
        return await ask() == expected

    await eventually(is_so)


@contextlib.asynccontextmanager
async def place(
    url: str, *, environment: Environment | None = None, kinds: Any = KINDS, **settings: Any
) -> AsyncIterator[Place]:
    """Open a node with seats, and reservations over its home store."""
    async with finality.open_async(url, environment=environment, **settings) as node:
        for statement in SEATS:
            await node.run(lambda tx, statement=statement: tx.execute(statement))  # type: ignore[misc]  # mypy infers no default
        context = await node.opened()
        elsewhere = Reservations(NAME, context, context.home, {})
        yield Place(node, Reservations(NAME, context, context.home, kinds), elsewhere)


def run(url: str, story: Callable[[Place], Coroutine[Any, Any, None]], **settings: Any) -> None:
    """Run *story* at a place."""

    async def whole() -> None:
        async with asyncio.timeout(30), place(url, **settings) as here:
            await story(here)

    asyncio.run(whole())
