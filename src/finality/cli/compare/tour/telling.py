"""Tours booked in one way: good ones, one refused, one approved late, one with a service that hangs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from finality.cli.compare.place import Files
from finality.cli.compare.tour.rules import FULL, Tour
from finality.cli.compare.tour.ways import TourWay, choreographed, orchestrated
from finality.node.looking import find, history, words_of

WARM = 2  # Tours that open connections and plan statements.
CASES = 3  # Beside the timed ones: refused, late, hanging.
LATE_SECONDS = 0.5
HANG_SECONDS = 1.0

Open = Callable[[Files, str], AbstractAsyncContextManager[TourWay]]
WAYS: dict[str, Open] = {"orchestration": orchestrated, "choreography": choreographed}


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened to a tour, so long after its first event."""

    ms: float
    what: str


@dataclass(frozen=True, slots=True)
class Case:
    """What became of one tour.

    Attributes:
        ms: Until it had ended.
        is_booked: All four parties have it; otherwise none has.
        operator_sees: What ``explain`` said meanwhile.
    """

    status: str
    ms: float
    is_booked: bool
    timeline: list[Moment]
    operator_sees: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What was found out about one way; the counts are means of the timed tours."""

    way: str
    title: str
    count: int
    p50_ms: float
    p99_ms: float
    carried: float
    carried_says: str
    durable_writes: float
    hangs_says: str
    good: Case
    refused: Case
    late: Case
    hanging: Case


async def tell(name: str, folder: Path, broker: str, count: int, step: Callable[[str], None]) -> Told:
    """Book tours in one way."""
    place = Files(folder / name)
    try:
        async with WAYS[name](place, broker) as way:
            return await _told(way, count, lambda: step(name))
    finally:
        await place.close()


async def _told(way: TourWay, count: int, step: Callable[[], None]) -> Told:
    for number in range(WARM):
        await _case(way, Tour(f"warm-{number}", "Oslo"))
    carried, written = await way.carried(), await way.written()
    latencies = []
    for number in range(count):
        latencies.append(await _booked(way, f"tour-{number}"))
        step()
    carried, written = await way.carried() - carried, await way.written() - written
    latencies.sort()
    good = await _case(way, Tour("good", "Oslo"))
    refused = await _case(way, Tour("refused", FULL))
    step()
    late = await _case(way, Tour("late", "Rome"), approved_after=LATE_SECONDS)
    step()
    hanging = await _hanging(way, Tour("hanging", "Kyiv"))
    step()
    return Told(
        way=way.name,
        title=way.title,
        count=count,
        p50_ms=round(latencies[count // 2], 1),
        p99_ms=round(latencies[min(int(count * 0.99), count - 1)], 1),
        carried=round(carried / count, 1),
        carried_says=way.carried_says,
        durable_writes=round(written / count, 1),
        hangs_says=way.hangs_says,
        good=good,
        refused=refused,
        late=late,
        hanging=hanging,
    )


async def _booked(way: TourWay, id: str) -> float:
    """Book a good tour; return the milliseconds until it had ended."""
    begun = time.perf_counter()
    await way.ask(Tour(id, "Oslo"))
    await way.approve(id)
    status = await way.ended(id)
    assert status == "completed", f"tour {id} is {status}"
    return (time.perf_counter() - begun) * 1e3


async def _case(way: TourWay, tour: Tour, *, approved_after: float = 0.0) -> Case:
    begun = time.perf_counter()
    await way.ask(tour)
    sees = ""
    if approved_after:
        await asyncio.sleep(approved_after)
        sees = await way.explained(tour.id)
    await way.approve(tour.id)
    return await _ended(way, tour, begun, sees)


async def _hanging(way: TourWay, tour: Tour) -> Case:
    go_on = await way.hang()
    try:
        begun = time.perf_counter()
        await way.ask(tour)
        await asyncio.sleep(HANG_SECONDS)
        sees = await way.explained(tour.id)
    finally:
        go_on()
    await way.approve(tour.id)
    return await _ended(way, tour, begun, sees)


async def _ended(way: TourWay, tour: Tour, begun: float, sees: str) -> Case:
    status = await way.ended(tour.id)
    ms = (time.perf_counter() - begun) * 1e3
    parties = await way.booked()
    having = [party for party, tours in parties.items() if tour.id in tours]
    assert len(having) in (0, len(parties)), f"tour {tour.id} is {status}, and only {having} have it"
    assert bool(having) == (status == "completed"), f"tour {tour.id} is {status}, and {having} have it"
    return Case(status, round(ms, 1), bool(having), [each async for each in _timeline(way, tour.id)], sees)


async def _timeline(way: TourWay, id: str) -> AsyncIterator[Moment]:
    entries = await history(way.node, await find(way.node, id))
    for entry in entries:
        about = entry.fields.get("step") or entry.fields.get("type") or ""
        yield Moment(round((entry.at - entries[0].at) * 1e3, 1), f"{words_of(entry.type)} {about}".strip())
