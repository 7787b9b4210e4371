"""How long a node takes to finish what a killed one has left open, and how much memory."""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import finality
from finality.cli.bench.child import child
from finality.cli.bench.machine import description
from finality.cli.bench.workload import ThreeSteps, check

LEASE = timedelta(seconds=1)
STARTS_AT_ONCE = 1_000
LOOK_SECONDS = 0.1  # A look at all that are open takes a few milliseconds.

METHOD = (
    "a process starts three-step sagas and drives none of them, is killed with kill -9, and once its lease "
    "has ended a new one opens the store; timed from its opening until every saga has ended"
)


async def run(path: Path, sagas: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Leave *sagas* open, kill the process that has started them, and recover."""
    machine = description(path.parent)
    started_mib = await _leave_open(path, sagas, say)
    await asyncio.sleep(LEASE.total_seconds())
    say("recovering")
    begun = time.perf_counter()
    async with finality.open_async(f"sqlite:///{path}", sagas=[ThreeSteps], lease=LEASE) as node:
        opened = time.perf_counter() - begun
        taken = 0.0
        while not taken or await node.transactions(is_open=True, limit=1):
            await asyncio.sleep(LOOK_SECONDS)
            if not taken and node.recovered >= sagas:
                taken = time.perf_counter() - begun
        ended = time.perf_counter() - begun
        recovered = node.recovered
        await check(node, {"success": sagas})
    assert recovered == sagas, f"{recovered} of {sagas} sagas were taken over"
    return {
        "bench": "recovery",
        "machine": machine,
        "method": METHOD,
        "results": {
            "open sagas": sagas,
            "MiB of the process that has them open": started_mib,
            "seconds to open": round(opened, 3),
            "seconds until all are taken over": round(taken, 2),
            "seconds until all have ended": round(ended, 2),
            "peak MiB of the process that recovers": round(_peak_mib()),
        },
        "checked": {"sagas": sagas, "each ended once": True},
    }


async def _leave_open(path: Path, sagas: int, say: Callable[[str], None]) -> int:
    say(f"starting {sagas} sagas")
    async with child("finality.cli.bench.recovery", path, sagas) as process:
        peak = await process.said()
    assert isinstance(peak, int), f"{peak!r} is no number"
    return peak


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def start_only(path: Path, sagas: int) -> None:
    """Start *sagas*, drive none, say how much memory that takes, and wait to be killed."""
    async with finality.open_async(f"sqlite:///{path}", in_flight_max=0, lease=LEASE) as node:
        for begin in range(0, sagas, STARTS_AT_ONCE):
            count = min(STARTS_AT_ONCE, sagas - begin)
            await asyncio.gather(*(node.start(ThreeSteps(number)) for number in range(begin, begin + count)))
        print(round(_peak_mib()), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(start_only(Path(sys.argv[1]), int(sys.argv[2])))
