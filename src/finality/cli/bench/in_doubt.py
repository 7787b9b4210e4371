"""How fast branches are finished that a node has left in doubt."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import finality
from finality.cli.bench.machine import description
from finality.core.ids import TransactionId
from finality.core.two_phase import Decided, Decision
from finality.node.insides import Insides
from finality.ports.participant import BranchId
from finality.testing import postgres

AT_ONCE = 50
METHOD = (
    "so many branches of an INSERT are prepared on one PostgreSQL server, fsync on, and left behind: half of "
    "them with a decision to commit, half with none. Then a node is opened that waits for nobody, and timed "
    "until none is left"
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
        [[left]] = server.sql("SELECT count(*) FROM pg_prepared_xacts")
        [[committed]] = server.sql("SELECT count(*) FROM paid", database="bank")
    assert left == "0", f"{left} branches are still in doubt"
    assert int(committed) == branches // 2, f"{committed} branches have committed"
    return {
        "bench": "in-doubt",
        "machine": machine,
        "method": METHOD,
        "results": {
            "branches": branches,
            "seconds until none is in doubt": round(seconds, 2),
            "branches a second": round(branches / seconds),
        },
        "checked": {"committed": int(committed), "left in doubt": 0},
    }


async def _leave(home: str, url: str, branches: int) -> None:
    """Prepare branches as a node does that dies: with a decision, or before it."""
    bank = finality.postgres(url, name="bank", connections_max=AT_ONCE)
    async with finality.open_async(home, participants=[bank]) as node:
        insides: Insides = node._insides
        insides.recovery.is_stopped = True
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
