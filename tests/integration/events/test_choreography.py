"""A choreography between services with homes of their own: each run is one transaction, seen in each home."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import examples.choreography as tour
import finality
from finality.adapters.memory.broker import MemoryBroker
from finality.cli.command_line import run_command_line
from finality.core.envelope import Envelope
from tests.integration.events.kit import own_broker
from tests.integration.kit import MovedClock, eventually, url_of

HOTEL: list[Any] = [tour.book_room, tour.free_room]
AIRLINE: list[Any] = [tour.book_seat, tour.free_seat]
AGENCY: list[Any] = [tour.confirm, tour.give_up]
TABLES = (
    "CREATE TABLE IF NOT EXISTS room (tour TEXT)",
    "CREATE TABLE IF NOT EXISTS seat (tour TEXT)",
    "CREATE TABLE IF NOT EXISTS part (tour TEXT, what TEXT, UNIQUE (tour, what))",
)


class Services:
    """The services of the tour, each with a home of its own, on one broker."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.folder = folder
        self.broker = own_broker()
        self.clock = MovedClock()
        self._stack = stack

    async def open(self, name: str, reactions: list[Any]) -> finality.AsyncNode:
        node = await self._stack.enter_async_context(
            finality.open_async(
                url_of(self.folder, name), broker=MemoryBroker(self.broker.topics), reactions=reactions,
                choreographies=[tour.TOUR], environment=self.clock,
            )
        )  # fmt: skip
        for table in TABLES:
            await node.run(lambda tx, table=table: tx.execute(table))  # type: ignore[misc]  # it is bound here
        return node


async def run_of(node: finality.AsyncNode, status: str) -> str:
    """Wait until the only run of a home has a status; return its id."""

    async def found() -> str:
        return next((head.id for head in await node.transactions(kind="tour", status=status)), "")

    id: str = await eventually(found, status)
    return id


async def request(node: finality.AsyncNode, people: int) -> None:
    async with node.transaction() as tx:
        await tx.publish("tours", tour.TourRequested("alps", people), key="alps")


@pytest.mark.parametrize("people, status, rooms", [(2, "completed", 1), (1_000, "compensated", 0)])
def test_a_run_is_one_transaction_in_each_home(tmp_path: Path, people: int, status: str, rooms: int) -> None:
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            services = Services(tmp_path, stack)
            hotel = await services.open("hotel", HOTEL)
            airline = await services.open("airline", AIRLINE)
            agency = await services.open("agency", AGENCY)
            await request(agency, people)
            ids = {await run_of(node, status) for node in (hotel, airline, agency)}
            explanations = {str(await node.explain(id)) for node in (hotel, agency) for id in ids}

            assert len(ids) == 1
            assert len(await hotel.query("SELECT * FROM room")) == rooms
            assert all(
                "hotel/book_room said RoomBooked because of TourRequested" in told for told in explanations
            )
            assert await agency.undriven() == []

    asyncio.run(scenario())


def test_an_inbox_remembers_longer_than_a_run_may_take(tmp_path: Path) -> None:
    kept = {"inbox_kept": timedelta(minutes=9), "outbox_kept": timedelta(minutes=1)}

    with pytest.raises(
        finality.DefinitionError, match="what comes late would run; give a longer inbox_kept="
    ):
        finality.open_async(url_of(tmp_path), choreographies=[tour.TOUR], **kept)  # type: ignore[arg-type]  # by name


def test_a_service_that_hangs_is_named_and_the_rest_is_undone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The airline comes back after the deadline: what it does then, late, changes nothing."""

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            services = Services(tmp_path, stack)
            hotel = await services.open("hotel", HOTEL)
            agency = await services.open("agency", AGENCY)
            await request(agency, 2)
            id = await run_of(agency, "running")

            async def has_room() -> bool:
                return "RoomBooked" in str(await agency.explain(id))

            await eventually(has_room)
            waits = "SeatBooked or SeatRefused, which never came: airline/book_seat has not answered"
            assert waits in str(await agency.explain(id))
            services.clock.move(minutes=5, seconds=1)
            await run_of(agency, "compensating")

            async def is_undone() -> bool:
                return "hotel/free_room said RoomFree" in str(await agency.explain(id))

            await eventually(is_undone)
            assert await hotel.query("SELECT * FROM room") == []
            status = await asyncio.to_thread(
                run_command_line, ["transaction", "explain", id, "--store", url_of(tmp_path, "agency")]
            )
            told = capsys.readouterr().out
            assert (status, "SeatFree, which never came: airline/free_seat has not answered" in told) == (
                0,
                True,
            )

            airline = await services.open("airline", AIRLINE)
            assert await run_of(agency, "compensated") == await run_of(airline, "compensated") == id
            assert await airline.query("SELECT * FROM seat") == []
            late = Envelope(
                "late", "test", "SeatBooked", "tours", b'{"tour":"alps"}', "alps", correlation_id=id
            )
            before = len(await agency.history(id))
            await services.broker.publish([late])

            async def no_lag() -> bool:
                return not any((await agency.health()).lags.values())

            await eventually(no_lag)
            assert len(await agency.history(id)) == before

    asyncio.run(scenario())
