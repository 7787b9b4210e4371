"""What ends a branch runs to its own end, even when whoever waits for it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_running: set[asyncio.Task[Any]] = set()  # The event loop alone would let go of them.


async def unbroken(work: Coroutine[Any, Any, T]) -> T:
    """Return what *work* returns. It goes on without us when we are cancelled, and gives back what it holds.

    A statement that is cancelled on its way is half of a statement: a driver asks the server to stop,
    and a commit that waits for its replica then goes on without.
    """
    task = asyncio.get_running_loop().create_task(work)
    _running.add(task)
    task.add_done_callback(_forget)
    return await asyncio.shield(task)


def _forget(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled():
        task.exception()  # Nobody may be left to hear it, and that is no news.
