"""Three-step sagas, done and compensated, each against its bound in the same run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import finality
from finality.cli.bench.bound import Bare, BareWriter, measure_bound
from finality.cli.bench.machine import description
from finality.cli.bench.workload import SAGAS, VARIANTS, Run, check, measure

METHOD = (
    "each client starts a saga and waits for its outcome before it starts the next; every event is durable "
    "(WAL, synchronous=FULL; PostgreSQL as it is set) before the saga goes on; product and bound take turns; "
    "medians over the rounds"
)


class Place(Protocol):
    """Where the sagas are kept, and a bare writer beside them."""

    url: str
    folder: Path

    async def bare(self) -> Bare:
        """Return a bare writer on an empty database of the same kind."""
        ...

    def remove_bare(self) -> None:
        """Remove what the last bare writer has left."""
        ...

    async def settings(self) -> dict[str, str]:
        """Return what a reader has to know of it beside the machine."""
        ...


class File:
    """A SQLite file."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"
        self.folder = path.parent
        self._bare = path.with_name(f"{path.stem}-bound.db")

    async def bare(self) -> Bare:
        """Return a bare writer on a file beside it."""
        return BareWriter(self._bare)

    def remove_bare(self) -> None:
        """Remove that file."""
        remove(self._bare)

    async def settings(self) -> dict[str, str]:
        """Say nothing: the method says it."""
        return {}


class Server:
    """A PostgreSQL database."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder

    async def bare(self) -> Bare:
        """Return a bare writer in a schema beside it."""
        from finality.cli.bench.bound_postgres import BarePostgres

        return await BarePostgres.open(self.url)

    def remove_bare(self) -> None:
        """It has removed its schema itself."""

    async def settings(self) -> dict[str, str]:
        """Return what the server's durability rests on."""
        import asyncpg

        connection = await asyncpg.connect(self.url)
        try:
            named = {name: f"SHOW {name}" for name in ("server_version", "fsync", "synchronous_commit")}
            return {name: str(await connection.fetchval(show)) for name, show in named.items()}
        finally:
            await connection.close()


async def run(
    place: Place, seconds: float, rounds: int, concurrencies: Sequence[int], say: Callable[[str], None]
) -> dict[str, Any]:
    """Measure, *seconds* for each round of each figure, and check that every saga ended once."""
    machine = description(place.folder) | await place.settings()
    counts = dict.fromkeys(VARIANTS, 0)
    results: list[dict[str, Any]] = []
    async with finality.open_async(place.url, sagas=SAGAS.values()) as node:
        for concurrency in concurrencies:
            figures: dict[str, list[Run]] = {}
            for number in range(rounds):
                for variant in VARIANTS:
                    say(f"{concurrency} in flight, round {number + 1} of {rounds}: {variant}")
                    done = await measure(node, variant, concurrency=concurrency, seconds=seconds)
                    counts[variant] += done.count
                    figures.setdefault(variant, []).append(done)
                    bare = await place.bare()
                    bound = await measure_bound(bare, variant, concurrency=concurrency, seconds=seconds)
                    figures.setdefault(f"{variant} bound", []).append(bound)
                    place.remove_bare()
            results.append({"concurrency": concurrency, **_summed_up(figures)})
        await check(node, counts)
    return {
        "bench": "saga",
        "machine": machine,
        "method": METHOD,
        "seconds": seconds * rounds,
        "rounds": rounds,
        "results": results,
        "checked": {"sagas": sum(counts.values()), "each ended once": True},
    }


def remove(database: Path) -> None:
    """Remove a SQLite database and what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)


def _summed_up(figures: dict[str, list[Run]]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for name, runs in figures.items():
        rates = [run.count / run.seconds for run in runs]
        middle = sorted(runs, key=lambda run: run.count / run.seconds)[len(runs) // 2]
        summary[name] = middle.figures() | {"spread": [round(min(rates)), round(max(rates))]}
    for variant in VARIANTS:
        ratios = [
            (done.count / done.seconds) / (bound.count / bound.seconds)
            for done, bound in zip(figures[variant], figures[f"{variant} bound"], strict=True)
        ]
        summary[variant]["ratio_to_bound"] = round(statistics.median(ratios), 3)
    ratios = [
        (undone.count / undone.seconds) / (done.count / done.seconds)
        for undone, done in zip(figures["compensation"], figures["success"], strict=True)
    ]
    summary["compensation_to_success"] = round(statistics.median(ratios), 3)
    return summary
