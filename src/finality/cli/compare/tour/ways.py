"""The two ways at work: how a tour is asked for, approved, watched and disturbed in each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable

import finality
from finality.cli.compare.place import Files, is_held
from finality.cli.compare.tally import Tally
from finality.cli.compare.tour.choreography import (
    SERVICES,
    TOPIC,
    TOUR,
    TourApproved,
    TourRequested,
)
from finality.cli.compare.tour.orchestration import APPROVED, BookTour
from finality.cli.compare.tour.rules import BOOKED, TABLES, Tour
from finality.cli.compare.tour.service import READY
from finality.core.ids import TransactionId
from finality.node import AsyncNode
from finality.ports.home import Head

HANGING = "cars"  # Whose database or process is held up.
LOOK_SECONDS = 0.002
END_SECONDS_MAX = 60.0
READY_SECONDS_MAX = 60.0


class TourWay(ABC):
    """One way to book tours, while it is open.

    Attributes:
        node: Whom an operator asks.
        hangs_says: What is done to the service that hangs.
        carried_says: What is counted as carried between the parties.
    """

    name: str
    title: str
    hangs_says: str
    carried_says: str

    def __init__(self, place: Files, node: AsyncNode, tally: Tally) -> None:
        self.place = place
        self.node = node
        self.tally = tally

    @abstractmethod
    async def ask(self, tour: Tour) -> None:
        """Ask for a tour; durable on return."""

    @abstractmethod
    async def approve(self, id: str) -> None:
        """Approve a tour, as a person does."""

    @abstractmethod
    async def hang(self) -> Callable[[], object]:
        """Hold the car rental up; return what lets it go on."""

    @abstractmethod
    async def carried(self) -> int:
        """Return how much was carried between the parties so far."""

    @abstractmethod
    async def written(self) -> int:
        """Return how many commits were flushed so far, by all."""

    async def ended(self, id: str) -> str:
        """Wait until a tour has ended; return how."""
        return (await self._found(id, lambda head: head.has_ended)).status

    async def explained(self, id: str) -> str:
        """Return what an operator is told of a tour, as soon as its node knows of it."""
        await self._found(id, lambda head: True)
        return str(await self.node.explain(id))

    async def _found(self, id: str, is_enough: Callable[[Head], bool]) -> Head:
        async with asyncio.timeout(END_SECONDS_MAX):
            while True:
                head = await self.node.journal.find(TransactionId(id))
                if head is not None and is_enough(head):
                    return head
                await asyncio.sleep(LOOK_SECONDS)

    async def booked(self) -> dict[str, set[str]]:
        """Return the tours that each party has something for."""
        return {
            party: {id for (id,) in await self.place.execute(party, sql)} for party, sql in BOOKED.items()
        }


class Orchestrated(TourWay):
    """A saga in one node, with the parties' databases as stores."""

    name = "orchestration"
    title = "orchestration: a saga conducts"
    hangs_says = "its database is locked"
    carried_says = "calls from the coordinator"

    async def ask(self, tour: Tour) -> None:
        """Start the saga."""
        await self.node.start(BookTour(tour), id=tour.id)

    async def approve(self, id: str) -> None:
        """Send the signal."""
        await self.node.signal(id, APPROVED, True, by="the boss")

    async def hang(self) -> Callable[[], object]:
        """Hold the lock of the car rental's database."""
        await self.place.execute(HANGING, "BEGIN IMMEDIATE")
        return lambda: self.place.execute_now(HANGING, "COMMIT")

    async def carried(self) -> int:
        """Return the calls to the parties' stores."""
        return self.tally.calls.total()

    async def written(self) -> int:
        """Return the commits of all stores."""
        await self.tally.settled()
        return self.tally.writes


class Choreographed(TourWay):
    """A process for each party, and a broker between."""

    name = "choreography"
    title = "choreography: nobody does"
    hangs_says = "its process is stopped (SIGSTOP)"
    carried_says = "events through the broker"
    broker: str
    services: dict[str, asyncio.subprocess.Process]

    async def ask(self, tour: Tour) -> None:
        """Publish that somebody wants it."""
        async with self.node.transaction() as tx:
            await tx.publish(TOPIC, TourRequested(tour.id, tour.city), key=tour.id, headers=_run(tour.id))

    async def approve(self, id: str) -> None:
        """Publish that somebody approves it."""
        async with self.node.transaction() as tx:
            await tx.publish(TOPIC, TourApproved(id), key=id, headers=_run(id))

    async def hang(self) -> Callable[[], object]:
        """Stop the car rental's process, while it does not hold the broker's file, which all need."""
        process = self.services[HANGING].pid
        while True:
            os.kill(process, signal.SIGSTOP)
            await asyncio.sleep(LOOK_SECONDS)
            if not is_held(self.broker):
                return lambda: os.kill(process, signal.SIGCONT)
            os.kill(process, signal.SIGCONT)
            await asyncio.sleep(LOOK_SECONDS)

    async def carried(self) -> int:
        """Return the events in all outboxes: each was relayed once, and none is pruned yet."""
        counts = [
            await self.place.execute(name, "SELECT count(*) FROM finality_outbox")
            for name in (*SERVICES, "home")
        ]
        return sum(count for [(count,)] in counts)

    async def written(self) -> int:
        """Return the commits of all processes, a broker in files included."""
        await self.tally.settled()
        return self.tally.writes + sum([await self._asked(each) for each in self.services.values()])

    async def _asked(self, service: asyncio.subprocess.Process) -> int:
        assert service.stdin is not None and service.stdout is not None, "both are pipes"  # noqa: PT018 - one fact
        service.stdin.write(b"\n")
        return int(await service.stdout.readline())


def _run(id: str) -> dict[str, str]:
    return {"correlationid": id}


@contextlib.asynccontextmanager
async def orchestrated(place: Files, broker: str) -> AsyncIterator[TourWay]:
    """Open one node for all."""
    tally = Tally()
    await _found(place)
    node = finality.open_async(
        place.url("home"),
        stores={name: place.url(name) for name in TABLES},
        sagas=[BookTour],
        environment=tally.environment(),
    )
    async with node:
        await tally.watch(node, frozenset())
        yield Orchestrated(place, node, tally)


@contextlib.asynccontextmanager
async def choreographed(place: Files, broker: str) -> AsyncIterator[TourWay]:
    """Start a process for each party; they end with the block, whatever happens in it."""
    tally = Tally()
    await _found(place)
    async with contextlib.AsyncExitStack() as stack:
        services = {name: await stack.enter_async_context(_service(name, place, broker)) for name in SERVICES}
        node = finality.open_async(
            place.url("home"), broker=broker, choreographies=[TOUR], environment=tally.environment()
        )
        await stack.enter_async_context(node)
        way = Choreographed(place, node, tally)
        way.broker, way.services = broker, services
        yield way


async def _found(place: Files) -> None:
    for name, table in TABLES.items():
        await place.make(name)
        await place.execute(name, table)
    await place.make("home")


@contextlib.asynccontextmanager
async def _service(name: str, place: Files, broker: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "finality.cli.compare.tour.service", name, place.spec, broker,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us alone.
    )  # fmt: skip
    try:
        assert process.stdout is not None, "it was asked for"
        async with asyncio.timeout(READY_SECONDS_MAX):
            said = (await process.stdout.readline()).decode().strip()
        assert said == READY, f"service {name} said {said!r} and not {READY!r}"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):  # It has ended by itself.
            process.kill()
        await process.wait()
