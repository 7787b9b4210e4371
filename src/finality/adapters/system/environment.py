"""The environment of production: this machine's clock, chance and threads."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from finality.adapters.system.threads import Threads

T = TypeVar("T")

BLOCKING_THREADS_MAX = 32  # Steps that call services wait rather than compute.
STEP_THREAD = "finality step"


class SystemEnvironment:
    """Fulfils ``ports.environment.Environment``."""

    is_threaded = True

    def __init__(self) -> None:
        self._threads = Threads(BLOCKING_THREADS_MAX, STEP_THREAD)
        self.chance = random.random
        self.random_bits = random.getrandbits
        self.now = time.time

    def reach(self, point: str) -> None:
        """Pass: production has no crash points of its own."""

    def run_blocking(self, work: Callable[[], T]) -> Awaitable[T]:
        """Run *work* in a thread of the pool."""
        return self._threads.run(work)
