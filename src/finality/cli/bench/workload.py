"""The saga that is measured: three trivial steps, each event durable before the saga goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import finality
from finality.node import AsyncNode

VARIANTS = ("success", "compensation")


@dataclass(frozen=True)
class ThreeSteps(finality.Saga):
    """Three steps that do nothing but answer; five events and four commits each saga."""

    number: int

    @finality.step
    def first(self, tx: finality.SyncTx) -> int:
        """Answer."""
        return self.number

    @first.compensate
    def undo_first(self, tx: finality.SyncTx, first: int) -> None:
        """Undo nothing."""

    @finality.step
    def second(self, tx: finality.SyncTx, first: int) -> int:
        """Answer."""
        return first + 1

    @second.compensate
    def undo_second(self, tx: finality.SyncTx, second: int) -> None:
        """Undo nothing."""

    @finality.step
    def third(self, tx: finality.SyncTx, second: int) -> int:
        """Answer."""
        return second + 1


@dataclass(frozen=True)
class SecondRefuses(ThreeSteps):
    """The same saga, refused at its second step: six events and four commits each saga."""

    @finality.step
    def second(self, tx: finality.SyncTx, first: int) -> int:
        """Refuse."""
        raise finality.Refused("the bench says no")


SAGAS: dict[str, type[ThreeSteps]] = {"success": ThreeSteps, "compensation": SecondRefuses}


@dataclass(frozen=True, slots=True)
class Run:
    """What one measured run was like.

    Attributes:
        cpu: Seconds of processor time of the whole process, or processes.
        latencies: From the call of start to the outcome, in seconds, sorted.
    """

    count: int
    seconds: float
    cpu: float
    latencies: list[float]

    @property
    def rate(self) -> float:
        """Return how many a second."""
        return self.count / self.seconds

    def figures(self) -> dict[str, Any]:
        """Return what is printed of it."""
        return {
            "per_second": round(self.rate, 1),
            "p50_ms": round(self.percentile(0.5) * 1e3, 2),
            "p99_ms": round(self.percentile(0.99) * 1e3, 2),
            "cpu_us": round(self.cpu / max(self.count, 1) * 1e6, 1),
            "count": self.count,
        }

    def percentile(self, share: float) -> float:
        """Return the latency that *share* of the sagas stay below."""
        if not self.latencies:
            return 0.0
        return self.latencies[min(int(len(self.latencies) * share), len(self.latencies) - 1)]


def together(runs: Sequence[Run]) -> Run:
    """Return what runs in several processes at once were like as one."""
    return Run(
        sum(run.count for run in runs),
        max(run.seconds for run in runs),
        sum(run.cpu for run in runs),
        sorted(chain.from_iterable(run.latencies for run in runs)),
    )


async def measure(node: AsyncNode, variant: str, *, concurrency: int, seconds: float) -> Run:
    """Keep *concurrency* sagas in flight for so long, each client waiting for its saga's outcome."""
    saga = SAGAS[variant]
    wanted = finality.COMPLETED if variant == "success" else finality.COMPENSATED
    latencies: list[float] = []
    clock = time.perf_counter
    stop = clock() + seconds

    async def client() -> None:
        while clock() < stop:
            begun = clock()
            handle = await node.start(saga(1))
            outcome = await handle.outcome()
            assert outcome.status is wanted, f"saga {handle.id} ended {outcome.status}"
            latencies.append(clock() - begun)

    begun, cpu = clock(), time.process_time()
    await asyncio.gather(*(client() for _ in range(concurrency)))
    elapsed, cpu = clock() - begun, time.process_time() - cpu
    return Run(len(latencies), elapsed, cpu, sorted(latencies))


async def check(node: AsyncNode, counts: dict[str, int]) -> None:
    """See that every saga that was started has ended once, and as it should.

    Raises:
        AssertionError: One has not.
    """
    wanted = {
        (SAGAS[variant].__name__, "completed" if variant == "success" else "compensated"): count
        for variant, count in counts.items()
        if count
    }
    found = {key: count for key, count in (await node.journal.counts()).items() if count}
    assert found == wanted, f"found {found}, but started {wanted}"
    ends = await node.query(
        "SELECT count(*), count(DISTINCT stream) FROM finality_event "
        "WHERE type IN ('saga.Completed', 'saga.Compensated')"
    )
    total = sum(counts.values())
    assert ends == [(total, total)], f"{ends} ends of {total} sagas"
