"""An event loop whose time is simulated and whose order comes from a seed.

```
   process a:  ● ● ●     each process runs its callbacks in the order in which they came, as
   process b:  ● ●       asyncio promises; which process runs next is the seed's choice
   the world:  ●         nobody has anything to do? then it is the time of the next timer
```

A day of waiting takes no time, a process may be paused or killed between any two callbacks, and
the same seed gives the same run: ``trace`` is its fingerprint.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import heapq
import random
from asyncio import events
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple

from finality.testing.process import CURRENT, Crash, Process

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

TICK_SECONDS = 1e-6  # Computing takes time, so that whoever asks again and again sees it pass.
CALLBACKS_MAX = 5_000_000  # A minute of computing: a simulation that does more goes in circles.

CANCELS_MAX = 5  # A task that catches its cancellation this often is left as it is.
LAST_CALLBACKS_MAX = 10_000


class Idle(RuntimeError):
    """The simulation waits for something that can never come."""


class Endless(RuntimeError):
    """The simulation goes in circles."""


class SimulatedLoop(asyncio.AbstractEventLoop):
    """An asyncio event loop in simulated time. It has no sockets, threads or signals.

    Args:
        seed: Decides which process goes on whenever several can.
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # A simulation wants repeatable dice.
        self._now = 0.0
        self._timers: list[tuple[float, int, float, asyncio.TimerHandle]] = []
        self._timer_number = 0
        self._processes: list[Process] = []
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._is_running = False
        self._is_stopping = False
        self._is_closed = False
        self._hash = hashlib.blake2b(digest_size=16)
        self.callbacks = 0
        self.left_behind: list[asyncio.Handle] = []
        """What the dead were about to do."""
        self.errors: list[dict[str, Any]] = []
        """What callbacks raised that nobody expected."""
        self.running: Process | None = None
        """Whose callback runs now."""
        self.world = Process(self, "world")
        self._processes.append(self.world)

    # ── Processes ───────────────────────────────────────────────────────────────────────────

    def process(self, name: str) -> Process:
        """Start a process."""
        process = Process(self, name)
        self._processes.append(process)
        self.note("process", name)
        return process

    def note(self, *what: object) -> None:
        """Add something to the run's fingerprint."""
        self._hash.update(repr((round(self._now, 9), what)).encode())

    @property
    def trace(self) -> str:
        """Return the fingerprint of everything that happened so far."""
        return self._hash.hexdigest()

    # ── Time ────────────────────────────────────────────────────────────────────────────────

    def time(self) -> float:
        """Return the simulated seconds since the beginning."""
        return self._now

    def next_timer(self, *, delay_min: float) -> float | None:
        """Return when the next timer is due that was set for at least *delay_min* seconds."""
        whens = (
            when for when, _, delay, timer in self._timers if delay >= delay_min and not timer.cancelled()
        )
        return min(whens, default=None)

    def jump(self, to: float) -> None:
        """Let time pass in which nothing runs, as if the computer had slept."""
        if to > self._now:
            self._now = to
            self.note("jump")

    # ── Scheduling ──────────────────────────────────────────────────────────────────────────

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Run *callback* in its process, after what the process was asked before."""
        handle = asyncio.Handle(callback, args, self, context)
        self._enqueue(handle, CURRENT.get() if context is None else context.get(CURRENT))
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run *callback* when *delay* seconds have passed."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run *callback* at *when*, or later."""
        if context is None:
            context = contextvars.copy_context()
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        process = context.get(CURRENT)
        if process is None or not process.is_dead or self._is_closed:
            self._timer_number += 1
            heapq.heappush(self._timers, (when, self._timer_number, when - self._now, timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Hear of it; a cancelled timer is dropped when it is due."""

    def _enqueue(self, handle: asyncio.Handle, process: Process | None) -> None:
        process = process or self.world
        if self._is_closed:
            self.world.ready.append(handle)
        elif process.is_dead:
            self.left_behind.append(handle)
        else:
            process.ready.append(handle)

    def create_future(self) -> asyncio.Future[Any]:
        """Return a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """Start *coro* in the process that *context* belongs to."""
        task: asyncio.Task[T] = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks[task] = None
        task.add_done_callback(self._forget_task)
        return task

    def _forget_task(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)

    async def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> T:  # type: ignore[override]  # awaited alike
        """Run *func* in line: there are no threads here."""
        return func(*args)

    # ── Running ─────────────────────────────────────────────────────────────────────────────

    def run_forever(self) -> None:
        """Run until ``stop``."""
        assert not self._is_running, "the simulation is running already"
        before = events._get_running_loop()
        events._set_running_loop(None)
        events._set_running_loop(self)
        self._is_running = True
        try:
            while not self._is_stopping:
                self._step()
        finally:
            self._is_running = self._is_stopping = False
            events._set_running_loop(before)

    def run_until_complete(self, future: Any) -> Any:
        """Run until *future* is done; return its result.

        Raises:
            Idle: It waits for something that can never come.
            Endless: It goes in circles.
        """
        task = asyncio.ensure_future(future, loop=self)

        def stop(_: object) -> None:
            self._is_stopping = True

        task.add_done_callback(stop)
        try:
            self.run_forever()
        finally:
            task.remove_done_callback(stop)
        return task.result()

    def stop(self) -> None:
        """Return from ``run_forever`` after the callback that runs now."""
        self._is_stopping = True

    def _step(self) -> None:
        """Run one callback, or let time pass."""
        self._take_due()
        able = [p for p in self._processes if p.ready and p.paused_until <= self._now]
        if not able:
            self._pass_time()
            return
        process = able[0] if len(able) == 1 else able[int(self._random.random() * len(able))]
        handle = process.ready.popleft()
        self.callbacks += 1
        if self.callbacks > CALLBACKS_MAX:
            raise Endless(f"the simulation has run {self.callbacks:,} callbacks: it goes in circles")
        if handle.cancelled():
            return
        self._now += TICK_SECONDS
        if len(able) > 1:
            self._hash.update(process.name.encode())
        self.running = process
        try:
            handle._run()
        finally:
            self.running = None
            if process.is_dead:
                process.bury()

    def _take_due(self) -> None:
        timers = self._timers
        while timers and (timers[0][0] <= self._now or timers[0][3].cancelled()):
            timer = heapq.heappop(timers)[3]
            if not timer.cancelled():
                context: Context = timer._context  # type: ignore[attr-defined]  # as asyncio's own loop does
                self._enqueue(timer, context.get(CURRENT))

    def _pass_time(self) -> None:
        wakes = [p.paused_until for p in self._processes if p.ready]
        if self._timers:
            wakes.append(self._timers[0][0])
        if not wakes:
            raise Idle("the simulation waits for something that can never come: nothing is ready or timed")
        self._now = max(self._now, min(wakes))

    # ── What goes wrong ─────────────────────────────────────────────────────────────────────

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what nobody caught, unless it comes from a process that is dead."""
        is_of_the_dead = self.running is not None and self.running.is_dead
        is_left_over = "was destroyed but it is pending" in context.get("message", "")
        if not (
            self._is_closed or is_of_the_dead or is_left_over or isinstance(context.get("exception"), Crash)
        ):
            self.errors.append(context)

    def set_exception_handler(self, callback: Any) -> None:
        """Keep to our own way of hearing of errors."""

    def get_debug(self) -> bool:
        """Say no: the order of things shall not depend on it."""
        return False

    def set_debug(self, enabled: bool) -> None:
        """Stay as it is."""

    def is_running(self) -> bool:
        """Say whether it runs."""
        return self._is_running

    def is_closed(self) -> bool:
        """Say whether it was closed."""
        return self._is_closed

    async def shutdown_asyncgens(self) -> None:
        """Nothing to do: what is left is closed with the tasks."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Nothing to do: there are no threads."""

    def close(self) -> None:
        """Put away what still waits: the tasks of the dead, and whatever the test has left.

        They are cancelled, as asyncio.run does at its end, so that their finally blocks run. Nothing
        of it reaches the world any more.
        """
        if self._is_closed:
            return
        self._is_closed = True
        for process in self._processes:
            process.is_dead = True
            self.left_behind += process.ready
            process.ready.clear()
        self.world.ready.extend(self.left_behind)
        self.left_behind.clear()
        for _ in range(CANCELS_MAX):
            for task in list(self._tasks):
                task.cancel()
            self._run_out()
            if not self._tasks:
                break
        self._timers.clear()

    def _run_out(self) -> None:
        """Run what was cancelled to its end, unless it resists for too long."""
        before = events._get_running_loop()
        events._set_running_loop(None)
        events._set_running_loop(self)
        ready = self.world.ready
        try:
            for _ in range(LAST_CALLBACKS_MAX):
                if not ready and self._timers and self._tasks:
                    self._now = max(self._now, self._timers[0][0])
                    self._take_due()
                if not ready:
                    return
                handle = ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            events._set_running_loop(before)


def new_loop(seed: int = 0) -> SimulatedLoop:
    """Return a loop whose order *seed* decides."""
    return SimulatedLoop(seed)  # type: ignore[abstract]  # what it lacks raises, as in any loop
