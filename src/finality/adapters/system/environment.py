"""The environment of production: this machine's clock, chance and threads."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from finality.adapters.system.threads import Threads

T = TypeVar("T")

BLOCKING_THREADS_MAX = 32  # Steps that call services wait rather than compute.
STEP_THREAD = "finality step"

# Not the module's own dice, which belong to the user's program and its seed. As with these, a child
# that was forked must not throw what its parent throws.
_dice = random.Random()
os.register_at_fork(after_in_child=_dice.seed)


class SystemEnvironment:
    """Fulfils ``ports.environment.Environment``."""

    is_threaded = True

    def __init__(self) -> None:
        self._threads = Threads(BLOCKING_THREADS_MAX, STEP_THREAD)
        self.chance = _dice.random
        self.random_bits = _dice.getrandbits
        self.now = time.time

    def reach(self, point: str) -> None:
        """Pass: production has no crash points of its own."""

    def run_blocking(self, work: Callable[[], T]) -> Awaitable[T]:
        """Run *work* in a thread of the pool."""
        return self._threads.run(work)
