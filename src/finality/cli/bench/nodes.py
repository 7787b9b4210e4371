"""Node processes on one store, or bare writers on one: they measure at the same instant, and count as one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict

from finality.cli.bench.child import Child, child
from finality.cli.bench.node_process import Task
from finality.cli.bench.workload import Run, together

START_SECONDS = 0.01  # Until then each has heard when to start.


class Nodes:
    """Processes that have nothing open but while they measure."""

    def __init__(self, children: list[Child]) -> None:
        self._children = children

    async def measure(self, kind: str, url: str, variant: str, shares: list[int], seconds: float) -> Run:
        """Let a process for each of *shares* keep so many in flight.

        Args:
            kind: ``node``, or ``bare`` for a writer without the engine.
        """
        children = self._children[: len(shares)]
        for number, (each, share) in enumerate(zip(children, shares, strict=True)):
            each.tell(asdict(Task(kind, url, number, variant, share, seconds)))
        for each in children:
            assert await each.said() == "ready"
        start = time.perf_counter() + START_SECONDS  # The clock of this machine, the same for all.
        for each in children:
            each.tell(start)
        return together([Run(**await each.said()) for each in children])


@asynccontextmanager
async def open_nodes(count: int) -> AsyncIterator[Nodes]:
    """Start so many processes; they end with the block, however that ends."""
    async with AsyncExitStack() as stack:
        spawned = (stack.enter_async_context(child("finality.cli.bench.node_process")) for _ in range(count))
        yield Nodes(await asyncio.gather(*spawned))


def shared_out(clients: int, processes: int) -> list[int]:
    """Return how many clients each process has; fewer processes if there are not enough for all."""
    processes = min(clients, processes)
    return [clients // processes + (number < clients % processes) for number in range(processes)]
