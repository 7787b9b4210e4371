"""Three-step sagas, done and compensated, each against its bound in the same run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import click

import finality
from finality.cli.bench.machine import description
from finality.cli.bench.nodes import open_nodes, shared_out
from finality.cli.bench.workload import SAGAS, VARIANTS, Run, check

METHOD = (
    "each client starts a saga and waits for its outcome before it starts the next; every event is durable "
    "(WAL, synchronous=FULL; PostgreSQL as it is set) before the saga goes on; nodes are processes on one "
    "store which share the clients; the bound is one bare writer; all take turns; medians over the rounds"
)


class Place(Protocol):
    """Where the sagas are kept, and where bare writers write beside them."""

    url: str
    bare_url: str
    folder: Path

    async def make_bare(self) -> None:
        """Make an empty database of the same kind."""
        ...

    async def remove_bare(self) -> None:
        """Remove it."""
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
        self.bare_url = f"sqlite:///{self._bare}"

    async def make_bare(self) -> None:
        """Leave it to the first who opens it."""

    async def remove_bare(self) -> None:
        """Remove the file beside it."""
        remove(self._bare)

    async def settings(self) -> dict[str, str]:
        """Say nothing: the method says it."""
        return {}


class Server:
    """A PostgreSQL database."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = self.bare_url = url
        self.folder = folder

    async def make_bare(self) -> None:
        """Make a schema beside it."""
        from finality.cli.bench.bound_postgres import make_schema

        await make_schema(self.url)

    async def remove_bare(self) -> None:
        """Remove that schema."""
        from finality.cli.bench.bound_postgres import remove_schema

        await remove_schema(self.url)

    async def settings(self) -> dict[str, str]:
        """Return what the server's durability rests on."""
        import asyncpg

        connection = await asyncpg.connect(self.url)
        try:
            named = {name: f"SHOW {name}" for name in ("server_version", "fsync", "synchronous_commit")}
            return {name: str(await connection.fetchval(show)) for name, show in named.items()}
        finally:
            await connection.close()


def place_at(store: str | None, folder: Path) -> Place:
    """Return where *store* says, by default a file in *folder*.

    Raises:
        ClickException: The file is there already.
    """
    if store and store.startswith("postgres"):
        return Server(store, folder)
    path = Path(store.removeprefix("sqlite:///")) if store else folder / "bench.db"
    if path.exists():
        raise click.ClickException(f"{path} exists: a bench measures a store of its own; name a new file")
    return File(path)


async def run(
    place: Place,
    seconds: float,
    rounds: int,
    concurrencies: Sequence[int],
    counts: Sequence[int],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Measure, *seconds* for each round of each figure, and check that every saga ended once.

    Args:
        counts: Of node processes on the store: each is measured, in turn with the others.
    """
    machine = description(place.folder) | await place.settings()
    started = dict.fromkeys(VARIANTS, 0)
    results: list[dict[str, Any]] = []
    async with open_nodes(max(counts)) as nodes:
        for concurrency in concurrencies:
            figures: dict[str, list[Run]] = {}
            sizes = sorted({min(count, concurrency) for count in counts})
            for number, variant in product(range(rounds), VARIANTS):
                say(f"{concurrency} in flight, round {number + 1} of {rounds}: {variant}")
                for size in sizes:
                    shares = shared_out(concurrency, size)
                    done = await nodes.measure("node", place.url, variant, shares, seconds)
                    started[variant] += done.count
                    figures.setdefault(named(variant, size), []).append(done)
                for size in sorted({1, *sizes}):
                    shares = shared_out(concurrency, size)
                    await place.make_bare()
                    bound = await nodes.measure("bare", place.bare_url, variant, shares, seconds)
                    await place.remove_bare()
                    figures.setdefault(named_bound(variant, size), []).append(bound)
            results.append({"concurrency": concurrency, **_summed_up(figures, sizes)})
    async with finality.open_async(place.url, sagas=SAGAS.values()) as node:
        await check(node, started)
    return {
        "bench": "saga",
        "machine": machine,
        "method": METHOD,
        "seconds": seconds * rounds,
        "rounds": rounds,
        "results": results,
        "checked": {"sagas": sum(started.values()), "each ended once": True},
    }


def named(variant: str, nodes: int) -> str:
    """Return the name of a figure."""
    return variant if nodes == 1 else f"{variant}, {nodes} nodes"


def named_bound(variant: str, writers: int) -> str:
    """Return the name of a bound."""
    return f"{variant} bound" if writers == 1 else f"{variant} bound, {writers} writers"


def remove(database: Path) -> None:
    """Remove a SQLite database and what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)


def _summed_up(figures: dict[str, list[Run]], sizes: Sequence[int]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for name, runs in figures.items():
        rates = [run.rate for run in runs]
        middle = sorted(runs, key=lambda run: run.rate)[len(runs) // 2]
        summary[name] = middle.figures() | {"spread": [round(min(rates)), round(max(rates))]}

    def ratio(name: str, other: str) -> float:
        pairs = zip(figures[name], figures[other], strict=True)
        return round(statistics.median(one.rate / two.rate for one, two in pairs), 3)

    for variant, size in product(VARIANTS, sizes):
        name = named(variant, size)
        summary[name]["ratio_to_bound"] = ratio(name, named_bound(variant, 1))
        if size > 1:
            summary[name]["ratio_to_as_many_writers"] = ratio(name, named_bound(variant, size))
            if 1 in sizes:
                summary[name]["ratio_to_one_node"] = ratio(name, variant)
        if variant == "compensation":
            summary[name]["ratio_to_success"] = ratio(name, named("success", size))
    return summary
