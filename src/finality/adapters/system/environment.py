"""The environment of production: this machine's clock, chance and threads."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

BLOCKING_THREADS_MAX = 32  # Steps that call services wait rather than compute.


class SystemEnvironment:
    """Fulfils ``ports.environment.Environment``."""

    is_threaded = True

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(BLOCKING_THREADS_MAX, thread_name_prefix="finality step")
        self.chance = random.random
        self.random_bits = random.getrandbits
        self.now = time.time

    def reach(self, point: str) -> None:
        """Pass: production has no crash points of its own."""

    def run_blocking(self, work: Callable[[], T]) -> Awaitable[T]:
        """Run *work* in a thread of the pool."""
        return asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        """Let the threads end once their work has."""
        self._threads.shutdown(wait=False, cancel_futures=True)
