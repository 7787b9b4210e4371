"""Late try, and the empty cancel before it.

A coordinator asks a hotel to hold a room. The request stands still on its way: a long pause, a lost
packet, a queue. The coordinator gives up, decides abort and asks the hotel to cancel. The cancel arrives
first, finds nothing to give back, and must succeed all the same (an *empty cancel*), or the transaction
would never end. Then the try arrives, late, and holds a room for a transaction that is over: nobody will
ever confirm or cancel it, and the room is lost for good.

A hotel that keeps no witness falls for it. A reservation remembers the cancel although it cancelled
nothing, and refuses the try that it was for, for ever: also when the try is in the middle of its work
when the cancel comes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

import finality
from finality.core.ids import TransactionId
from finality.core.reservation import LATE
from finality.core.two_phase import Decision
from finality.ports.participant import BranchId
from finality.runtime.reservations.participant import RESERVATIONS
from tests.anomalies.stage import Stage, play

ROOMS = ("CREATE TABLE room (id, state)", "INSERT INTO room VALUES (7, 'free')")
BRANCH = BranchId("0123456789ab", TransactionId("trip"), RESERVATIONS)
QUERY = "SELECT state FROM room"


class Way:
    """What lies between the coordinator and the hotel: a try waits there until it is let through."""

    def __init__(self) -> None:
        self.is_reached = asyncio.Event()
        self.is_open = asyncio.Event()

    async def pass_(self) -> None:
        self.is_reached.set()
        await self.is_open.wait()


WAYS: dict[str, Way] = {}


@dataclass(frozen=True)
class RoomHold(finality.Reservation[int]):
    """Asks somebody else before its first statement, and is in the middle of its work for so long."""

    guest: str

    async def try_(self, tx: finality.Tx) -> int:
        await WAYS[self.guest].pass_()
        await tx.execute("UPDATE room SET state = 'held'")
        return 7

    def confirm(self, tx: finality.SyncTx, held: int) -> None:
        tx.execute("UPDATE room SET state = 'taken' WHERE id = ?", held)

    def cancel(self, tx: finality.SyncTx, held: int) -> None:
        tx.execute("UPDATE room SET state = 'free' WHERE id = ?", held)


def test_a_hotel_without_a_witness_holds_a_room_for_nobody(url: str) -> None:
    async def main(stage: Stage) -> None:
        await stage.prepare(*ROOMS)
        way = Way()

        async def late_try() -> None:
            await way.pass_()
            await stage.node.run(lambda tx: tx.execute("UPDATE room SET state = 'held'"))

        trying = asyncio.ensure_future(late_try())
        await way.is_reached.wait()
        await stage.node.run(lambda tx: tx.execute("UPDATE room SET state = 'free' WHERE state = 'held'"))
        way.is_open.set()
        await trying

        assert await stage.scalar(QUERY) == "held"

    play(url, main)


@pytest.mark.parametrize("is_under_way", [True, False], ids=["in the middle of its work", "not there yet"])
def test_a_reservation_refuses_the_try_that_its_cancel_has_overtaken(url: str, is_under_way: bool) -> None:
    async def main(stage: Stage) -> None:
        await stage.prepare(*ROOMS)
        WAYS["ann"] = way = Way()
        hotel = await hotel_of(stage.node)
        trying: asyncio.Future[Any] | None = None
        if is_under_way:
            trying = asyncio.ensure_future(arrive(hotel))
            await way.is_reached.wait()

        assert await hotel.finish(BRANCH, Decision.ABORT) is Decision.ABORT, "the empty cancel succeeds"

        way.is_open.set()
        for attempt in (trying, arrive(hotel), arrive(hotel)):
            if attempt is not None:
                with pytest.raises(finality.Refused, match=LATE):
                    await attempt

        assert await stage.scalar(QUERY) == "free"
        assert await hotel.in_doubt() == []

    play(url, main, reservations=[RoomHold])


async def hotel_of(node: finality.AsyncNode) -> Any:
    """Return the participant that the home store's reservations are."""
    await node.opened()
    return node._insides.participants[RESERVATIONS]


async def arrive(hotel: Any) -> None:
    """Let the try arrive."""
    await (await hotel.begin(BRANCH)).reserve("RoomHold", RoomHold("ann"))


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_block_that_is_cancelled_in_its_try_leaves_nothing(url: str, goes_on: bool) -> None:
    """The same, from the block's side: whoever waits loses patience while the try is under way."""

    async def main(stage: Stage) -> None:
        await stage.prepare(*ROOMS)
        WAYS["ann"] = way = Way()

        async def book() -> None:
            async with stage.node.transaction() as tx:
                await tx.reserve(RoomHold("ann"))

        booking = asyncio.ensure_future(book())
        await way.is_reached.wait()
        if goes_on:
            way.is_open.set()
        booking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await booking

        assert await stage.scalar(QUERY) == "free"

    play(url, main, reservations=[RoomHold])
