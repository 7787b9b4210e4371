"""The bell: nodes on one database that rest are woken by whoever commits.

```
   commit ──▶ (soon, alone, at most one in RING_SECONDS) NOTIFY ──▶ every node that listens: look
```

A ring is never part of a turn's transaction: NOTIFY takes a lock that all commits of a server share, and
keeps a transaction from being prepared. So a commit may stay without a ring, where its process dies in
between or it was not made by a node; nodes go on looking, less often. A node hears its own rings, too:
one that does not, as behind a pooler that hands connections round, knows that it is deaf.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from finality.adapters.postgres.session import ERRORS, Connection, Server, drop
from finality.core.backoff import Retry
from finality.core.errors import Unavailable

log = logging.getLogger("finality.bell")

BEGIN_SECONDS = 1.0  # A process that is gone by then needs no connection for it.
RING_SECONDS = 0.05
ANSWER_SECONDS_MAX = 5.0
TROUBLE = Retry(attempts=None, first_seconds=0.5, cap_seconds=10.0)


class Bell:
    """Rings for this node's commits, and hears everybody's.

    Attributes:
        is_heard: Whether the last ring came back.
    """

    def __init__(self, server: Server, told: Callable[[], None], chance: Callable[[], float]) -> None:
        self.is_heard = False
        self._server = server
        self._told = told
        self._chance = chance
        self._wanted = asyncio.Event()
        self._rings_heard = 0
        self._task = asyncio.ensure_future(self._run())

    def ring(self) -> None:
        """Wake the other nodes, soon; on the event loop."""
        self._wanted.set()

    async def close(self) -> None:
        """Ring and hear no more."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        await asyncio.sleep(BEGIN_SECONDS)
        failures = 0
        while True:
            connection: Connection = None
            try:
                connection = await self._server.connect()
                await connection.add_listener("finality", self._hear)
                connection.add_termination_listener(self._lost)
                failures = 0
                await self._ring_on(connection)
            except (*ERRORS, Unavailable) as error:
                failures += 1
                log.debug("store %s is asked more often, since nobody rings: %s", self._server.name, error)
            finally:
                self.is_heard = False
                if connection is not None:
                    drop(connection)
            await asyncio.sleep(TROUBLE.delay_seconds(failures + 1, self._chance()))

    async def _ring_on(self, connection: Connection) -> None:
        self._wanted.set()  # The first ring says whether this node hears.
        while not connection.is_closed():
            await self._wanted.wait()
            self._wanted.clear()
            before = self._rings_heard
            await connection.execute("NOTIFY finality", timeout=ANSWER_SECONDS_MAX)
            await asyncio.sleep(RING_SECONDS)
            self.is_heard = self._rings_heard > before

    def _hear(self, *_: Any) -> None:
        self._rings_heard += 1
        self._told()

    def _lost(self, *_: Any) -> None:
        self.is_heard = False
        self._wanted.set()  # So that the loop looks after its connection.
