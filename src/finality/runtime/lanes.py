"""Lanes: deliveries in hand, in order within a lane and side by side otherwise.

```
   delivered:  a1 b1 a2 c1 a3        lane a:  a1 ▶ a2 ▶ a3
                                     lane b:  b1              each lane has one task
                                     lane c:  c1
```
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable

from finality.ports.broker import Delivery

IN_HAND_MAX = 1_000  # Deliveries that are taken and not acknowledged; then nothing more is taken.

Serve = Callable[[list[Delivery]], Awaitable[None]]


class Lanes:
    """The deliveries of one subscription that are in hand.

    Args:
        serve: Deals with the first deliveries of a lane, and returns when they are done with.
        together: Returns those of a lane, from its first, that are dealt with at once.
        done: Called with those that are done with.
    """

    def __init__(
        self,
        serve: Serve,
        together: Callable[[Iterable[Delivery]], list[Delivery]],
        done: Callable[[list[Delivery]], None],
        *,
        in_hand_max: int = IN_HAND_MAX,
    ) -> None:
        self._serve = serve
        self._together = together
        self._done = done
        self._in_hand_max = in_hand_max
        self._lanes: dict[Hashable, deque[Delivery]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_hand = 0
        self._has_room = asyncio.Event()
        self._has_room.set()

    def put(self, lane: Hashable, delivery: Delivery) -> None:
        """Put a delivery at the end of a lane."""
        self._in_hand += 1
        if self._in_hand >= self._in_hand_max:
            self._has_room.clear()
        waiting = self._lanes.get(lane)
        if waiting is not None:
            waiting.append(delivery)
            return
        self._lanes[lane] = deque([delivery])
        task = asyncio.ensure_future(self._run(lane))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def room(self) -> None:
        """Wait until more may be taken: back-pressure."""
        await self._has_room.wait()

    async def _run(self, lane: Hashable) -> None:
        waiting = self._lanes[lane]
        try:
            while waiting:
                first = self._together(waiting)  # Not a copy of all: a hot key's lane may be long.
                await self._serve(first)
                for _ in first[: len(waiting)]:  # Those that were dropped meanwhile are not there.
                    waiting.popleft()
                self._let_go(len(first))
                self._done(first)
        finally:
            del self._lanes[lane]

    def _let_go(self, count: int) -> None:
        self._in_hand -= count
        if self._in_hand < self._in_hand_max:
            self._has_room.set()

    async def close(self, seconds: float) -> None:
        """Drop what has not begun and let the rest end, for so long at most."""
        for waiting in self._lanes.values():
            while len(waiting) > 1:
                waiting.pop()
        if not self._tasks:
            return
        _, unfinished = await asyncio.wait([*self._tasks], timeout=seconds)
        for task in unfinished:
            task.cancel()
        if unfinished:
            await asyncio.wait(unfinished)
