"""A process of a simulation: what runs, pauses and dies together."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from finality.testing.loop import SimulatedLoop

T = TypeVar("T")


class Crash(BaseException):
    """Ends a simulated process in the middle of what it does; no ``except Exception`` may survive it."""


class Process:
    """What runs, pauses and dies together: one computer's program.

    Attributes:
        paused_until: When it wakes; nothing of it runs before.
        is_dead: It was killed: nothing of it ever runs again.
        death: Done once it is dead.
        reach: Passes a crash point of this process; what stands beside the node calls it, too.
        last_will: What happens to the world when it dies, as when the system closes its files.
    """

    def __init__(self, loop: SimulatedLoop, name: str) -> None:
        self.name = name
        self.ready: deque[asyncio.Handle] = deque()
        self.paused_until = 0.0
        self.is_dead = False
        self.death: asyncio.Future[None] = loop.create_future()
        self.last_will: list[Callable[[], None]] = []
        self.reach: Callable[[str], None] = lambda point: None
        self._loop = loop
        self._context = contextvars.copy_context()
        self._context.run(CURRENT.set, self)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run *work* in this process."""
        return self._loop.create_task(work, context=self._context.copy())

    def pause(self, seconds: float) -> None:
        """Stop it, as SIGSTOP does, and let it go on later as if nothing had been."""
        self.paused_until = max(self.paused_until, self._loop.time() + seconds)
        self._loop.note("pause", self.name, seconds)

    def kill(self) -> None:
        """End it at once: what it was about to do never happens."""
        if self.is_dead:
            return
        self.is_dead = True
        self._loop.note("kill", self.name)
        if self._loop.running is not self:
            self.bury()

    def bury(self) -> None:
        """Let the world see that it is dead; once the callback that it died in has ended."""
        self._loop.left_behind += self.ready
        self.ready.clear()
        for wish in self.last_will:
            wish()
        self.last_will.clear()
        if not self.death.done():
            self.death.set_result(None)

    def __repr__(self) -> str:
        return f"<process {self.name}{' (dead)' if self.is_dead else ''}>"


CURRENT: ContextVar[Process | None] = ContextVar("simulated process", default=None)
