"""Threads for steps that block. They are daemons: a step that hangs must not keep the process alive."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

log = logging.getLogger("finality.steps")

IDLE_SECONDS = 10.0  # A thread without work ends, so that nobody has to close the pool.


class Threads:
    """At most so many threads, each started when there is work and none is idle."""

    def __init__(self, count_max: int, name: str) -> None:
        self._count_max = count_max
        self._name = name
        self._count = 0
        self._lock = threading.Lock()
        self._idle = threading.Semaphore(0)
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def run(self, work: Callable[[], T]) -> Awaitable[T]:
        """Run *work* in a thread, in the caller's context; await the answer on the caller's loop."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()
        self._work.put(partial(_run, loop, answer, partial(context.run, work)))
        if not self._idle.acquire(blocking=False):
            self._start()
        return answer

    def _start(self) -> None:
        with self._lock:
            if self._count >= self._count_max:
                return  # The next one that is done takes it.
            self._count += 1
        threading.Thread(target=self._serve, name=self._name, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                self._work.get_nowait()()
                continue
            except Empty:
                self._idle.release()
            try:
                self._work.get(timeout=IDLE_SECONDS)()
            except Empty:
                if self._idle.acquire(blocking=False):
                    break  # Nobody counts on this thread any more.
        with self._lock:
            self._count -= 1


def _run(loop: asyncio.AbstractEventLoop, answer: asyncio.Future[Any], work: Callable[[], Any]) -> None:
    result, error = None, None
    try:
        result = work()
    except Exception as raised:
        error = raised
    except BaseException as raised:  # sys.exit() in a step ends the step, not the node.
        error = RuntimeError(f"it raised {raised!r}")
    if isinstance(error, StopIteration):
        error = RuntimeError(f"it raised {error!r}")  # A future refuses it as it is.
    try:
        loop.call_soon_threadsafe(_deliver, answer, result, error)
    except RuntimeError:
        log.debug("the event loop has gone before a step's answer")


def _deliver(answer: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if answer.done():
        return  # Nobody waits for it any more: its time was up, or the node closes.
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)
