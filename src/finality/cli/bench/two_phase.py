"""Two-branch PostgreSQL transactions, beside the same statements with PREPARE and COMMIT by hand."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg

import finality
from finality.cli.bench.beside import FINALITY, Contestant, beside
from finality.cli.bench.machine import description
from finality.cli.bench.workload import Run
from finality.testing import postgres

ROWS = 10_000  # So many accounts that two transfers rarely want the same one.
MOVE = "UPDATE account SET cents = cents + $1 WHERE id = $2"
MEMORY = "256MB"
WARM_UP = 0.25  # Of a round, so that lines are open and statements planned on both sides before it counts.
METHOD = (
    "each client moves a cent between two databases of one PostgreSQL server, fsync on: BEGIN and an UPDATE "
    "in each, PREPARE in both at once, COMMIT PREPARED in both at once. By hand nothing is recorded in "
    "between; the product writes its decision to a SQLite home, durably. Both take turns, once warm; medians"
)

Transfer = Callable[[int], Awaitable[None]]


async def run(
    directory: Path, seconds: float, rounds: int, concurrencies: Sequence[int], say: Callable[[str], None]
) -> dict[str, Any]:
    """Measure, *seconds* for each round of each figure, and check that no money was lost."""
    machine = description(directory)
    settings = {"fsync": "on", "max_prepared_transactions": "300", "shared_buffers": MEMORY}
    with postgres(settings=settings) as server:
        machine["postgresql"] = server.sql("SHOW server_version")[0][0]
        urls = [server.database(name) for name in ("bank", "shop")]
        for url in urls:
            await fill(url)
        most = max(concurrencies)
        bank, shop = (
            finality.postgres(url, name=name, connections_max=most)
            for name, url in zip(("bank", "shop"), urls, strict=True)
        )
        pools = [
            await asyncpg.create_pool(url, min_size=most, max_size=most, statement_cache_size=100)
            for url in urls
        ]
        home = f"sqlite:///{directory / 'home.db'}"
        try:
            async with finality.open_async(home, participants=[bank, shop]) as node:
                contestants = {
                    FINALITY: contestant(product(node, bank, shop)),
                    "by hand": contestant(_by_hand(*pools)),
                }
                results = []
                for concurrency in concurrencies:
                    for each in contestants.values():
                        await each(concurrency, seconds * WARM_UP)
                    results.append(await beside(contestants, concurrency, seconds, rounds, say))
        finally:
            for pool in pools:
                await pool.close()
        total = [await total_of(url) for url in urls]
        left = server.sql("SELECT count(*) FROM pg_prepared_xacts")[0][0]
    assert sum(total) == 0, f"money was lost: {total}"
    assert left == "0", f"{left} branches were left in doubt"
    return {
        "bench": "two-phase",
        "machine": machine,
        "method": METHOD,
        "seconds": seconds * rounds,
        "rounds": rounds,
        "results": results,
        "checked": {"money that was lost": 0, "branches left in doubt": 0},
    }


def contestant(transfer: Transfer) -> Contestant:
    """Return what measures *transfer*."""
    return lambda concurrency, seconds: _measure(transfer, concurrency, seconds)


async def _measure(transfer: Transfer, concurrency: int, seconds: float) -> Run:
    latencies: list[float] = []
    clock = time.perf_counter
    stop = clock() + seconds

    async def client(number: int) -> None:
        dice = random.Random(number)  # noqa: S311 - a bench wants repeatable dice
        while clock() < stop:
            begun = clock()
            await transfer(dice.randrange(ROWS))
            latencies.append(clock() - begun)

    begun, cpu = clock(), time.process_time()
    await asyncio.gather(*map(client, range(concurrency)))
    elapsed, cpu = clock() - begun, time.process_time() - cpu
    return Run(len(latencies), elapsed, cpu, sorted(latencies))


def product(node: finality.AsyncNode, bank: Any, shop: Any) -> Transfer:
    """Return the transfer by Finality."""

    async def transfer(account: int) -> None:
        async with node.transaction() as tx:
            at_bank, at_shop = await tx.enlist(bank), await tx.enlist(shop)
            await at_bank.execute(MOVE, -1, account)
            await at_shop.execute(MOVE, 1, account)

    return transfer


def _by_hand(bank: asyncpg.Pool, shop: asyncpg.Pool) -> Transfer:
    async def transfer(account: int) -> None:
        gid = uuid4().hex
        async with bank.acquire() as at_bank, shop.acquire() as at_shop:
            await at_bank.execute("BEGIN")
            await at_shop.execute("BEGIN")
            await at_bank.fetch(MOVE, -1, account)
            await at_shop.fetch(MOVE, 1, account)
            both = ((at_bank, f"{gid}:bank"), (at_shop, f"{gid}:shop"))
            await asyncio.gather(*(each.execute(f"PREPARE TRANSACTION '{name}'") for each, name in both))
            await asyncio.gather(*(each.execute(f"COMMIT PREPARED '{name}'") for each, name in both))

    return transfer


async def fill(url: str) -> None:
    """Make the accounts, with nothing on them."""
    connection = await asyncpg.connect(url)
    await connection.execute(
        "CREATE TABLE account (id int PRIMARY KEY, cents bigint NOT NULL) WITH (fillfactor = 50)"
    )
    await connection.execute("INSERT INTO account SELECT i, 0 FROM generate_series(0, $1) i", ROWS - 1)
    await connection.close()


async def total_of(url: str) -> int:
    """Return what is on all the accounts."""
    connection = await asyncpg.connect(url)
    total = await connection.fetchval("SELECT sum(cents) FROM account")
    await connection.close()
    return int(total)
