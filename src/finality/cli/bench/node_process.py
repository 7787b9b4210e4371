"""One of the processes that measure together: ``python -m …``, which reads a task a line.

```
    task ──▶ opens its node or writer ──▶ "ready"
    when ──▶ starts its clients at that instant, measures, closes ──▶ what the run was like
```
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import finality
from finality.cli.bench.bound import Bare, BareWriter, measure_bound
from finality.cli.bench.workload import SAGAS, Run, measure


@dataclass(frozen=True)
class Task:
    """What one process measures.

    Attributes:
        kind: ``node`` or ``bare``.
        number: Which of the processes on this store it is, from 0 on.
    """

    kind: str
    url: str
    number: int
    variant: str
    concurrency: int
    seconds: float


async def serve() -> None:
    """Measure what is asked for, until nobody asks any more."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        task = Task(**json.loads(line))
        _say(asdict(await (_node(task) if task.kind == "node" else _bare(task))))


async def _node(task: Task) -> Run:
    async with finality.open_async(task.url, sagas=SAGAS.values()) as node:
        await _start()
        return await measure(node, task.variant, concurrency=task.concurrency, seconds=task.seconds)


async def _bare(task: Task) -> Run:
    writer = await _writer(task)
    await _start()
    return await measure_bound(writer, task.variant, concurrency=task.concurrency, seconds=task.seconds)


async def _writer(task: Task) -> Bare:
    if not task.url.startswith("postgres"):
        return BareWriter(Path(task.url.removeprefix("sqlite:///")))
    from finality.cli.bench.bound_postgres import BarePostgres

    return await BarePostgres.open(task.url, task.number)


async def _start() -> None:
    _say("ready")
    start = float(await asyncio.to_thread(sys.stdin.readline))
    await asyncio.sleep(start - time.perf_counter())


def _say(item: Any) -> None:
    print(json.dumps(item), flush=True)


if __name__ == "__main__":
    asyncio.run(serve())
