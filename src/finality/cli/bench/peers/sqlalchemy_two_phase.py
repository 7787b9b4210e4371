"""SQLAlchemy's two-phase sessions, as fast as they go: plain threads and psycopg.

Its asynchronous sessions were tried as well, and were slower with either driver.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy
from sqlalchemy.orm import Session

from finality.cli.bench.two_phase import ROWS
from finality.cli.bench.workload import Run

MOVE = sqlalchemy.text("UPDATE account SET cents = cents + :cents WHERE id = :id")


class TwoPhaseSessions:
    """Moves cents between two databases, a session a transfer."""

    def __init__(self, urls: Sequence[str], connections: int) -> None:
        self._engines = [
            sqlalchemy.create_engine(
                url.replace("postgresql://", "postgresql+psycopg://", 1),
                pool_size=connections,
                max_overflow=0,
            )
            for url in urls
        ]

    async def measure(self, concurrency: int, seconds: float) -> Run:
        """Keep so many threads at it for so long."""
        stop = time.perf_counter() + seconds
        begun, cpu = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(concurrency) as threads:
            loop = asyncio.get_running_loop()
            lists = await asyncio.gather(
                *(loop.run_in_executor(threads, self._client, number, stop) for number in range(concurrency))
            )
        elapsed, cpu = time.perf_counter() - begun, time.process_time() - cpu
        latencies = sorted(latency for each in lists for latency in each)
        return Run(len(latencies), elapsed, cpu, latencies)

    def _client(self, number: int, stop: float) -> list[float]:
        latencies, clock = [], time.perf_counter
        dice = random.Random(number)  # noqa: S311 - a bench wants repeatable dice
        while (begun := clock()) < stop:
            self._transfer(dice.randrange(ROWS))
            latencies.append(clock() - begun)
        return latencies

    def _transfer(self, account: int) -> None:
        with Session(twophase=True) as session:
            for engine, cents in zip(self._engines, (-1, 1), strict=True):
                bound: dict[str, Any] = {"bind": engine}
                session.execute(MOVE, {"cents": cents, "id": account}, bind_arguments=bound)
            session.commit()

    def close(self) -> None:
        """Let go of the connections."""
        for engine in self._engines:
            engine.dispose()
