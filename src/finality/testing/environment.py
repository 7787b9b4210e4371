"""The environment of a simulated node: clock, chance and crash points that a seed decides."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

from finality.testing.loop import SimulatedLoop
from finality.testing.process import Crash, Process

T = TypeVar("T")

EPOCH = 1_767_225_600.0  # 2026-01-01: any date does; it must not be the one of today.

Reached = Callable[[str], bool]
"""Asked at each crash point; true kills the process there."""


class SimulatedEnvironment:
    """Fulfils ``ports.environment.Environment``.

    Args:
        skew: How many seconds this node's clock is ahead of the others.
        blocking_seconds_max: How long work that would block takes, at most.
        dies_at: Asked at each crash point whether the process dies there.

    Attributes:
        reached: How often each crash point was passed.
    """

    is_threaded = False

    def __init__(
        self,
        loop: SimulatedLoop,
        process: Process,
        seed: int | str,
        *,
        skew: float = 0.0,
        blocking_seconds_max: float = 0.05,
        dies_at: Reached | None = None,
    ) -> None:
        self.process = process
        self.reached: Counter[str] = Counter()
        self._loop = loop
        self._skew = EPOCH + skew
        self._blocking_seconds_max = blocking_seconds_max
        self._dies_at = dies_at
        process.reach = self.reach
        dice = random.Random(seed)  # A simulation wants repeatable dice.
        self.chance = dice.random
        self.random_bits = dice.getrandbits

    def now(self) -> float:
        """Return the node's time."""
        return self._skew + self._loop.time()

    def reach(self, point: str) -> None:
        """Pass the crash point, or die there.

        Raises:
            Crash: The process dies, or is dead and has not noticed yet.
        """
        if self.process.is_dead:
            raise Crash(f"{self.process.name} is dead")
        self.reached[point] += 1
        self._loop.note(point, self.process.name)
        if self._dies_at is not None and self._dies_at(point):
            self.process.kill()
            raise Crash(f"{self.process.name} crashes at {point}")

    async def _blocked(self, work: Callable[[], T]) -> T:
        await asyncio.sleep(self.chance() * self._blocking_seconds_max)
        return work()

    def run_blocking(self, work: Callable[[], T]) -> Awaitable[T]:
        """Run *work* in line, after a while."""
        return self._blocked(work)
