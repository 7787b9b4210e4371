"""One way on trial: cases that nobody disturbs, and one that is refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import finality
from finality.cli.compare.place import WITNESSES, Place
from finality.cli.compare.reader import Reader
from finality.cli.compare.tally import Tally
from finality.cli.compare.way import PATIENCE, Books, Way

WARM = 3  # Cases that open connections and plan statements.
WATCHED = 20  # Cases that somebody looks at, which slows them down.


@dataclass(frozen=True, slots=True)
class Costs:
    """What a case takes; the counts are means.

    Attributes:
        accepted_p50_ms: Until it was accepted, where that is before its end.
    """

    count: int
    p50_ms: float
    p99_ms: float
    accepted_p50_ms: float | None
    calls: float
    calls_by_name: dict[str, float]
    durable_writes: float
    journal_events: float
    witness_rows: float


@dataclass(frozen=True, slots=True)
class Sight:
    """What somebody has seen who looked meanwhile."""

    reads: int
    apart: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a case ended that was refused.

    Attributes:
        heard: The error that the customer's program got.
        is_whole: Everything was as if it had never been.
    """

    heard: str
    because: str
    ms: float
    is_whole: bool
    before: Books
    after: Books
    sight: Sight


@dataclass(frozen=True, slots=True)
class Trial:
    """All of it."""

    costs: Costs
    sight: Sight
    refusal: Refusal


async def try_out(way: Way, place: Place, count: int, done: Callable[[], None]) -> Trial:
    """Run a way *count* times and more; *done* is called after each case."""
    tally, reader = Tally(), Reader(way, place)
    async with (
        way.services(place, tally) as services,
        way.node(place, services, tally.environment()) as node,
    ):
        await tally.watch(node, place.silent)
        for number in range(WARM):
            await way.act(node, f"warm-{number}", deadline=PATIENCE)
        costs = await _costs(way, place, node, tally, count, done)
        async with reader.looking():
            for number in range(WATCHED):
                await way.act(node, f"watched-{number}", deadline=PATIENCE)
                done()
            await tally.settled()
        sight = Sight(reader.reads, reader.apart)
        refusal = await _refusal(way, node, tally, reader)
        done()
    books, done_ids = await reader.books(), await way.done(place)
    assert books.is_whole, f"{way.name}: the books do not fit: {books}"
    assert not books.is_held, f"{way.name}: something is left: {books}"
    counts = {"warm": WARM, "case": count, "watched": WATCHED}
    wanted = {f"{kind}-{number}" for kind, most in counts.items() for number in range(most)}
    assert done_ids == wanted, f"{way.name}: not done, or done and refused: {done_ids ^ wanted}"
    return Trial(costs, sight, refusal)


async def _costs(
    way: Way, place: Place, node: finality.AsyncNode, tally: Tally, count: int, done: Callable[[], None]
) -> Costs:
    await tally.settled()
    events, rows = await _rows(way, place)
    tally.calls.clear()
    writes, latencies, clock = tally.writes, [], time.perf_counter
    acceptances = []
    for number in range(count):
        begun = clock()
        accepted = await way.act(node, f"case-{number}", deadline=PATIENCE)
        latencies.append((clock() - begun) * 1e3)
        if accepted is not None:
            acceptances.append((accepted - begun) * 1e3)
        done()
    await tally.settled()
    events_after, rows_after = await _rows(way, place)
    latencies.sort()
    return Costs(
        count=count,
        p50_ms=round(latencies[count // 2], 2),
        p99_ms=round(latencies[min(int(count * 0.99), count - 1)], 2),
        accepted_p50_ms=round(sorted(acceptances)[count // 2], 2) if acceptances else None,
        calls=round(tally.calls.total() / count, 1),
        calls_by_name={name: round(calls / count, 2) for name, calls in sorted(tally.calls.items())},
        durable_writes=round((tally.writes - writes) / count, 1),
        journal_events=round((events_after - events) / count, 1),
        witness_rows=round((rows_after - rows) / count, 1),
    )


async def _rows(way: Way, place: Place) -> tuple[int, int]:
    """Return how many events the journal has, and how many witnesses all databases."""
    counts = dict.fromkeys(("finality_event", *WITNESSES), 0)
    for name in way.databases:
        for table in counts.keys() & await place.tables(name):
            [(count,)] = await place.execute(name, f"SELECT count(*) FROM {table}")  # noqa: S608 - our own names
            counts[table] += count
    return counts["finality_event"], sum(counts[table] for table in WITNESSES)


async def _refusal(way: Way, node: finality.AsyncNode, tally: Tally, reader: Reader) -> Refusal:
    before, begun = await reader.books(), time.perf_counter()
    async with reader.looking():
        try:
            await way.act(node, "refused", deadline=PATIENCE, is_refused=True)
        except finality.TransactionAborted as aborted:
            ms = (time.perf_counter() - begun) * 1e3
            heard, because = type(aborted).__name__, getattr(aborted, "because", str(aborted))
        else:
            raise AssertionError(f"{way.name}: what was to be refused was done")
        await tally.settled()
    after = await reader.books()
    sight = Sight(reader.reads, reader.apart)
    return Refusal(heard, because, round(ms, 1), before == after, before, after, sight)
