"""How fast branches are finished that a node has left in doubt."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg

import finality
from finality.adapters.connections import FINISHING_MAX
from finality.cli.bench.machine import description
from finality.core.ids import TransactionId
from finality.core.two_phase import Decided, Decision
from finality.node.insides import Insides
from finality.ports.participant import BranchId
from finality.testing import PostgresServer, postgres

AT_ONCE = 50
METHOD = (
    "so many branches of an INSERT are prepared on one PostgreSQL server, fsync on, and left behind: half of "
    "them with a decision to commit, half with none. Then a node is opened that waits for nobody, and timed "
    "until none is left. By hand the same branches are finished over as many connections by COMMIT PREPARED "
    "and ROLLBACK PREPARED alone: nothing is looked up, decided or recorded"
)


async def run(directory: Path, branches: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Leave *branches* in doubt, recover them, and check that each ended as it had to."""
    machine = description(directory)
    settings = {
        "fsync": "on",
        "max_prepared_transactions": str(branches + 100),
        "max_locks_per_transaction": "256",
    }
    with postgres(settings=settings) as server:
        machine["postgresql"] = server.sql("SHOW server_version")[0][0]
        url = server.database("bank")
        server.sql("CREATE TABLE paid (n int PRIMARY KEY)", database="bank")
        home = f"sqlite:///{directory / 'home.db'}"
        say(f"leaving {branches} branches in doubt")
        await _leave(home, url, branches)
        say("recovering them")
        seconds = await _recover(home, url, branches)
        _check(server, branches)
        server.sql("TRUNCATE paid, finality_branch", database="bank")
        say(f"leaving {branches} branches in doubt again")
        await _leave(f"sqlite:///{directory / 'another.db'}", url, branches)
        say("finishing them by hand")
        by_hand = await _finish_by_hand(url)
        _check(server, branches)
    return {
        "bench": "in-doubt",
        "machine": machine,
        "method": METHOD,
        "results": {
            "branches": branches,
            "seconds until none is in doubt": round(seconds, 2),
            "branches a second": round(branches / seconds),
            "branches a second by hand": round(branches / by_hand),
            "ratio of rates": round(by_hand / seconds, 3),
        },
        "checked": {"committed": branches // 2, "left in doubt": 0},
    }


def _check(server: PostgresServer, branches: int) -> None:
    [[left]] = server.sql("SELECT count(*) FROM pg_prepared_xacts")
    [[committed]] = server.sql("SELECT count(*) FROM paid", database="bank")
    assert left == "0", f"{left} branches are still in doubt"
    assert int(committed) == branches // 2, f"{committed} branches have committed"


async def _leave(home: str, url: str, branches: int) -> None:
    """Prepare branches as a node does that dies: with a decision, or before it."""
    bank = finality.postgres(url, name="bank", connections_max=AT_ONCE)
    async with finality.open_async(home, participants=[bank]) as node:
        insides: Insides = node._insides
        await insides.recovery.stop()
        identity = await insides.decisions.identity()
        at_once = asyncio.Semaphore(AT_ONCE)

        async def leave(number: int) -> None:
            async with at_once:
                id = TransactionId(f"left-{number}")
                branch = await bank.begin(BranchId(identity, id, "bank"))
                await branch.execute("INSERT INTO paid VALUES ($1)", number)
                await branch.prepare()
                if number % 2:
                    await insides.decisions.decide(id, Decided(Decision.COMMIT, ("bank",)))

        await asyncio.gather(*map(leave, range(branches)))


async def _recover(home: str, url: str, branches: int) -> float:
    bank = finality.postgres(url, name="bank", connections_max=AT_ONCE)
    begun = time.perf_counter()
    async with finality.open_async(home, participants=[bank]) as node:
        recovery = node._insides.recovery
        recovery.grace_seconds = 0.0
        while recovery.finished < branches:  # noqa: ASYNC110 - it looks, and asks the server nothing
            await asyncio.sleep(0.05)
        return time.perf_counter() - begun


async def _finish_by_hand(url: str) -> float:
    connections = [await asyncpg.connect(url) for _ in range(AT_ONCE + FINISHING_MAX)]
    names = await connections[0].fetch("SELECT gid FROM pg_prepared_xacts ORDER BY prepared")
    waiting = iter([name for (name,) in names])

    async def finish(connection: Any) -> None:
        for name in waiting:
            number = int(name.split(":")[2].removeprefix("left-"))
            verb = "COMMIT" if number % 2 else "ROLLBACK"
            await connection.execute(f"{verb} PREPARED '{name}'")

    begun = time.perf_counter()
    await asyncio.gather(*map(finish, connections))
    seconds = time.perf_counter() - begun
    for connection in connections:
        await connection.close()
    return seconds
