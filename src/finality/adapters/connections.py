"""The connections of a participant: bounded, reused only when nothing is open or prepared on them.

```
    branches  ──take──▶  at most ``branches_max`` at once
    finishing ──take──▶  FINISHING_MAX more, so that branches that wait for locks of a branch in doubt
                         never keep away the connection that finishes it
```
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from finality.core.errors import Unavailable

FINISHING_MAX = 8  # Connections beyond those of branches, for what ends branches and looks after them.
TAKE_SECONDS_MAX = 10.0  # Longer than a lock is waited for: whoever holds one has given up by then.

C = TypeVar("C")


class Connections(Generic[C]):
    """Hands out connections, newest first, and takes them back."""

    def __init__(
        self,
        name: str,
        branches_max: int,
        *,
        connect: Callable[[], Awaitable[C]],
        is_clean: Callable[[C], bool],
        drop: Callable[[C], object],
    ) -> None:
        self._name = name
        self._branches_max = branches_max
        self._connect = connect
        self._is_clean = is_clean
        self._drop = drop
        self._idle: list[C] = []
        self._out: set[C] = set()
        self._taken = 0  # With those that are about to be.
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._is_closed = False

    async def take(self, *, is_finishing: bool = False) -> C:
        """Return a clean connection, to be given back.

        Raises:
            Unavailable: None can be had in time, or the participant is closed.
        """
        limit = self._branches_max + (FINISHING_MAX if is_finishing else 0)
        if not self._enters(limit):
            await self._wait(limit)
        try:
            connection = self._idle_one() or await self._connect()
            if self._is_closed:
                self._drop(connection)
                raise self._closed()
        except BaseException:
            self._leave()
            raise
        self._out.add(connection)
        return connection

    def _idle_one(self) -> C | None:
        while self._idle:
            connection = self._idle.pop()
            if self._is_clean(connection):
                return connection
            self._drop(connection)
        return None

    def give_back(self, connection: C) -> None:
        """Take a connection back. One that anything is left open on is dropped."""
        self._out.discard(connection)
        if self._is_closed or not self._is_clean(connection):
            self._drop(connection)
        else:
            self._idle.append(connection)
        self._leave()

    async def renewed(self, lost: C) -> C:
        """Return a new connection in place of one that was lost; the others have lain as long, and go too.

        Raises:
            Unavailable: None can be had, or the participant is closed; *lost* is still to be given back.
                Or it was meanwhile: then nobody would give the new one back.
        """
        self.forget_idle()
        connection = await self._connect()
        if self._is_closed or lost not in self._out:
            self._drop(connection)
            raise self._closed() if self._is_closed else self._returned()
        self._out.discard(lost)
        self._drop(lost)
        self._out.add(connection)
        return connection

    def forget_idle(self) -> None:
        """Drop what is idle, since its server has gone."""
        while self._idle:
            self._drop(self._idle.pop())

    def close(self) -> None:
        """Drop every connection; nobody gets one any more."""
        self._is_closed = True
        self.forget_idle()
        for connection in self._out:
            self._drop(connection)
        while self._waiting:
            _, turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(self._closed())

    def _enters(self, limit: int) -> bool:
        if self._is_closed:
            raise self._closed()
        if self._taken >= limit or (self._waiting and self._is_waited_for(limit)):
            return False
        self._taken += 1
        return True

    async def _wait(self, limit: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((limit, turn))
        try:
            async with asyncio.timeout(TAKE_SECONDS_MAX):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._leave()  # It came at the same moment.
            if not isinstance(error, TimeoutError):
                raise
            raise Unavailable(
                f"participant {self._name} has no connection to spare: all {limit} are taken; "
                "end branches sooner, or allow more with connections_max="
            ) from None

    def _is_waited_for(self, limit: int) -> bool:
        return any(other >= limit and not turn.done() for other, turn in self._waiting)

    def _leave(self) -> None:
        self._taken -= 1
        if self._waiting:
            self._let_in()

    def _let_in(self) -> None:
        self._waiting = deque((limit, turn) for limit, turn in self._waiting if not turn.done())
        # Whoever finishes branches goes first: others wait for what it sets free.
        for limit, turn in sorted(self._waiting, key=lambda waiting: -waiting[0]):
            if self._taken < limit:
                self._taken += 1
                turn.set_result(None)
                return

    def _closed(self) -> Unavailable:
        return Unavailable(f"participant {self._name} is closed: nothing more can be asked of it")

    def _returned(self) -> Unavailable:
        return Unavailable(f"participant {self._name} has its connection back: nothing more can run on it")
