"""Projections that catch up: events a second folded in memory and into SQL, beside the bare same."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any, Self

import asyncpg

import finality
from finality.cli.bench.machine import description
from finality.testing import postgres

APPENDED = 1_000
PATIENCE = timedelta(minutes=10)
LOOK_SECONDS = 0.005
NEXT = "ORDER BY position LIMIT 1000"
SERVED = "SELECT cursor FROM finality_reader WHERE reader = 'projection:moved'"
READ = "SELECT position, stream, data FROM finality_event WHERE type = 'Deposited' AND position >"
METHOD = (
    "the journal holds that many events; each round folds all of them into an object, has a projection "
    "rebuilt whose function takes lists and inserts a row for each, and does bare what that comes down to: "
    "the same rows read by the driver and inserted, 1,000 a commit. SQLite with synchronous=FULL, a row a "
    "statement; PostgreSQL with fsync, rows by unnest. Rates, and CPU of this process; medians"
)
CREATE = "CREATE TABLE {moved} (account TEXT NOT NULL, amount BIGINT NOT NULL)"
BARE = CREATE.replace("{moved}", "bare")
BY_UNNEST = "INSERT INTO {moved} SELECT * FROM unnest($1::text[], $2::bigint[])"

Work = Callable[[], Awaitable[int]]


@dataclass(frozen=True)
class Deposited:
    """What the journal is full of."""

    amount: int


@dataclass(frozen=True)
class Account(finality.Aggregate[Deposited]):
    """What is deposited into."""

    balance: int = 0

    def evolve(self, event: Deposited) -> Self:
        """Return the account with the deposit."""
        return replace(self, balance=self.balance + event.amount)


def total(sum_: int, moved: Deposited) -> int:
    """Return the sum with a deposit."""
    return sum_ + moved.amount


def by_rows(tx: finality.SyncTx, moved: list[Deposited], where: list[finality.Happened]) -> None:
    """Insert a row for each event, a statement each."""
    for event, there in zip(moved, where, strict=True):
        tx.execute("INSERT INTO {moved} VALUES (?, ?)", there.id, event.amount)


def by_unnest(tx: finality.SyncTx, moved: list[Deposited], where: list[finality.Happened]) -> None:
    """Insert a row for each event, in one statement."""
    tx.execute(BY_UNNEST, [there.id for there in where], [event.amount for event in moved])


async def run(directory: Path, events: int, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure, and check that each event is in each table once."""
    machine, results = description(directory), dict[str, Any]()
    with postgres(settings={"fsync": "on", "shared_buffers": "256MB"}) as server:
        machine["postgresql"] = server.sql("SHOW server_version")[0][0]
        path, url = directory / "bench.db", server.database("bench")
        for name, home, function in (
            ("SQLite", f"sqlite:///{path}", by_rows),
            ("PostgreSQL", url, by_unnest),
        ):
            projection = finality.project(into="moved", create=CREATE)(function)
            async with finality.open_async(home) as node:
                for n in range(0, events, APPENDED):
                    await node.append(await node.load(Account, f"a{n}"), *[Deposited(1)] * APPENDED)
            async with finality.open_async(home, projections=[projection]) as node:
                await node.wait_for(await node.token(), "moved", timeout=PATIENCE)
                bare = _bare_sqlite(path) if name == "SQLite" else _bare_postgres(url)
                works = {"folded": _folded(node), "into SQL": _rebuilt(node), "bare": bare}
                results |= await _measured(name, works, rounds, say)
                [(count, sum_)] = await node.query("SELECT count(*), sum(amount) FROM moved")
                assert count == sum_ == events, f"{count} rows of {sum_} for {events} events"
    return {
        "bench": "projection",
        "machine": machine,
        "method": METHOD,
        "events": events,
        "rounds": rounds,
        "results": results,
        "checked": {"events that are missing or double": 0},
    }


async def _measured(
    name: str, works: dict[str, Work], rounds: int, say: Callable[[str], None]
) -> dict[str, Any]:
    rates: dict[str, list[float]] = {what: [] for what in works}
    costs: dict[str, list[float]] = {what: [] for what in works}
    for _ in range(rounds):
        for what, work in works.items():
            begun, cpu = time.perf_counter(), time.process_time()
            count = await work()
            rates[what].append(count / (time.perf_counter() - begun))
            costs[what].append((time.process_time() - cpu) / count * 1e6)
            say(f"{name}, {what}: {rates[what][-1]:,.0f} events/s, {costs[what][-1]:.1f} µs CPU an event")
    found: dict[str, Any] = {}
    for what in works:
        found[f"{name}, {what}, events/s"] = round(median(rates[what]))
        found[f"{name}, {what}, µs CPU an event"] = round(median(costs[what]), 1)
    found[f"{name}, into SQL, of bare"] = round(median(rates["into SQL"]) / median(rates["bare"]), 2)
    return found


def _folded(node: finality.AsyncNode) -> Work:
    async def work() -> int:
        fold = node.fold(0, total)
        assert await fold.catch_up() == fold.events, "each deposit is of one"
        return fold.events

    return work


def _rebuilt(node: finality.AsyncNode) -> Work:
    async def work() -> int:
        generation = await node.rebuild("moved")
        # Another process may be the one that builds, so it is polled.
        while f'"generation":{generation},' not in str(await node.query(SERVED)):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)
        return int((await node.query("SELECT count(*) FROM moved"))[0][0])

    return work


def _bare_sqlite(path: Path) -> Work:
    async def work() -> int:
        connection = sqlite3.connect(path.with_name("bare.db"), isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("DROP TABLE IF EXISTS bare")
        connection.execute(BARE)
        source, count, after = sqlite3.connect(path), 0, 0
        while rows := source.execute(f"{READ} ? {NEXT}", (after,)).fetchall():
            connection.execute("BEGIN IMMEDIATE")
            moved = [(str(stream), json.loads(data)["amount"]) for _, stream, data in rows]
            connection.executemany("INSERT INTO bare VALUES (?, ?)", moved)
            connection.execute("COMMIT")
            count, after = count + len(rows), rows[-1][0]
        source.close()
        connection.close()
        return count

    return work


def _bare_postgres(url: str) -> Work:
    async def work() -> int:
        connection = await asyncpg.connect(url)
        await connection.execute(f"DROP TABLE IF EXISTS bare; {BARE}")
        count = after = 0
        while rows := await connection.fetch(f"{READ} $1 {NEXT}", after):
            async with connection.transaction():
                moved = [(str(stream), json.loads(data)["amount"]) for _, stream, data in rows]
                await connection.executemany("INSERT INTO bare VALUES ($1, $2)", moved)
            count, after = count + len(rows), rows[-1][0]
        await connection.close()
        return count

    return work
