"""Events appended to aggregates, beside the `eventsourcing` library: the same events, as durable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import finality
from finality.cli.bench.beside import FINALITY, Contestant, beside
from finality.cli.bench.machine import description
from finality.cli.bench.peers import eventsourcing_bank as peer
from finality.cli.bench.workload import Run
from finality.testing import postgres

SIZES = (1, 100)
METHOD = (
    "each client has an account of its own in memory and deposits into it, over and over: one event an "
    "append, or a hundred; each append is durable before the next, and counts as its events. Finality: "
    "node.append on asyncio, where clients share commits; eventsourcing: app.save in a thread for each "
    "client, with a connection of its own. SQLite with synchronous=FULL and PostgreSQL with fsync for both. "
    "Both take turns; medians"
)

Client = Callable[[int, float], Awaitable[list[float]]]
"""Appends in a client's name until a time; returns how long each append took."""


@dataclass(frozen=True)
class Deposited:
    """What each append is made of."""

    amount: int


@dataclass(frozen=True)
class Account(finality.Aggregate[Deposited]):
    """What a client deposits into."""

    balance: int = 0

    def evolve(self, event: Deposited) -> Self:
        """Return the account with the deposit."""
        return replace(self, balance=self.balance + event.amount)


async def run(
    directory: Path, seconds: float, rounds: int, concurrencies: Sequence[int], say: Callable[[str], None]
) -> dict[str, Any]:
    """Measure, *seconds* for each round of each figure, and check that every event is there once."""
    machine = description(directory)
    results: dict[str, Any] = {}
    with postgres(settings={"fsync": "on", "shared_buffers": "256MB", "max_connections": "300"}) as server:
        machine["postgresql"] = server.sql("SHOW server_version")[0][0]
        for name, url, settings in (
            ("SQLite", f"sqlite:///{directory / 'ours.db'}", peer.on_sqlite(directory / "theirs.db")),
            ("PostgreSQL", server.database("ours"), _settings(server.database("theirs"), max(concurrencies))),
        ):
            with peer.opened(settings) as bank:
                async with finality.open_async(url) as node:
                    results |= await _measured(name, node, bank, seconds, rounds, concurrencies, say)
    return {
        "bench": "append",
        "machine": machine,
        "method": METHOD,
        "seconds": seconds * rounds,
        "rounds": rounds,
        "results": results,
        "checked": {"events that are missing or double": 0},
    }


def _settings(url: str, most: int) -> dict[str, str]:
    parts = urlsplit(url)
    return peer.on_postgres(
        parts.hostname or "", parts.port or 5432, parts.username or "", parts.path[1:], most
    )


async def _measured(
    name: str,
    node: finality.AsyncNode,
    bank: Any,
    seconds: float,
    rounds: int,
    concurrencies: Sequence[int],
    say: Callable[[str], None],
) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for size in SIZES:
        accounts: dict[str, int] = {}
        contestants = {
            FINALITY: _contestant(node, size, accounts),
            peer.NAME: _peers(bank, size),
        }
        what = f"{name}, {size} {'event' if size == 1 else 'events'} an append"
        say(f"{what}:")
        results[what] = [
            await beside(contestants, concurrency, seconds, rounds, say) for concurrency in concurrencies
        ]
        for id, count in accounts.items():
            account = await node.load(Account, id)
            assert account.loaded.version == account.balance == count, f"{account}, and {count} were appended"
    bank.check()
    return results


def _contestant(node: finality.AsyncNode, size: int, accounts: dict[str, int]) -> Contestant:
    clock = time.perf_counter
    events = [Deposited(1)] * size

    async def client(stop: float, latencies: list[float]) -> None:
        id = f"{size}-{len(accounts)}"
        accounts[id] = 0
        account = await node.load(Account, id)
        while clock() < stop:
            begun = clock()
            account = await node.append(account, *events)
            latencies.append(clock() - begun)
        accounts[id] = account.balance

    async def measure(concurrency: int, seconds: float) -> Run:
        latencies: list[float] = []
        begun, cpu = clock(), time.process_time()
        stop = begun + seconds
        await asyncio.gather(*(client(stop, latencies) for _ in range(concurrency)))
        elapsed, cpu = clock() - begun, time.process_time() - cpu
        return Run(len(latencies) * size, elapsed, cpu, sorted(latencies))

    return measure


def _peers(bank: Any, size: int) -> Contestant:
    clock = time.perf_counter

    async def measure(concurrency: int, seconds: float) -> Run:
        begun, cpu = clock(), time.process_time()
        latencies = await asyncio.to_thread(bank.deposit, concurrency, size, begun + seconds)
        elapsed, cpu = clock() - begun, time.process_time() - cpu
        return Run(len(latencies) * size, elapsed, cpu, sorted(latencies))

    return measure
