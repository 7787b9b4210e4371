"""Who waits for events of a file is woken: at once by this process, within some milliseconds by others.

```
   publish here    ── ring ─────────────────────────┐
                                                    ├──▶ what arrived where? ──▶ its subscriptions
   publish there   ── inotify ──▶ data_version? ────┘    (one look for all)
                      or 100 times a second
```

The write-ahead log is written before the commit can be seen, for as long as the disk takes. So whoever
hears of a write asks soon, and again at growing intervals; where nobody is told, every 10 ms.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from finality.adapters.sqlite.broker_transaction import SQL
from finality.adapters.sqlite.connection import OUT_OF_REACH, identity
from finality.adapters.sqlite.inotify import drain, listen

POLL_SECONDS_MIN = 0.001  # Right after something was written.
POLL_SECONDS_MAX = 0.010  # A poll costs some 50 µs of the processor, its timer with it.
POLL_SECONDS_IDLE = 5.0  # Where a write is heard of: in case that one was not.
LOOK_PAGES_MAX = 1_000  # Whoever waits is on the event loop: behind more of them everybody is woken.
POLL_GROWTH = 1.3  # A commit is seen a third later than it took, at most.

Identity = tuple[int, int]

_lock = threading.Lock()
_watches: dict[Identity, weakref.WeakSet[Watch]] = {}


class Watch:
    """Watches a file through a connection that reads, for the subscriptions of one broker."""

    def __init__(self, reader: Any, path: Path | str, *, can_listen: bool) -> None:
        self._reader = reader
        self.identity = identity(path)
        self._loop = asyncio.get_running_loop()
        self._wakers: dict[tuple[int, int], dict[Callable[[], None], None]] = {}
        self._waiting = 0
        self._pace = POLL_SECONDS_MIN
        self._timer: asyncio.TimerHandle | None = None
        self._ear = listen(f"{path}-wal") if can_listen else None
        self._pace_max = POLL_SECONDS_MAX if self._ear is None else POLL_SECONDS_IDLE
        self._version = self._data_version()
        self._newest = self._last()
        with _lock:
            _watches.setdefault(self.identity, weakref.WeakSet()).add(self)

    def add(self, topic: int, partition: int, wake: Callable[[], None]) -> None:
        """Call *wake* whenever something arrives there; what is there is for the caller to look at."""
        if not self._wakers:
            self._newest = self._last()  # Nobody has looked so far.
        self._wakers.setdefault((topic, partition), {})[wake] = None

    def remove(self, topic: int, partition: int, wake: Callable[[], None]) -> None:
        """Call it no more."""
        place = (topic, partition)
        self._wakers.get(place, {}).pop(wake, None)
        if not self._wakers.get(place):
            self._wakers.pop(place, None)

    async def wait(self, woken: asyncio.Future[None]) -> None:
        """Wait for *woken*, and watch meanwhile."""
        self._waiting += 1
        try:
            if self._waiting == 1:
                self._begin()
            await asyncio.wait((woken,))  # Whoever is cancelled leaves it to the others.
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._end()

    def _begin(self) -> None:
        if self._ear is not None:
            self._loop.add_reader(self._ear, self._hear)
        self._hurry()

    def _end(self) -> None:
        if self._ear is not None:
            self._loop.remove_reader(self._ear)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _hear(self) -> None:
        assert self._ear is not None, "only an ear hears"
        drain(self._ear)
        self._hurry()

    def _hurry(self) -> None:
        """Poll now, and soon again."""
        self._pace = POLL_SECONDS_MIN
        if self._timer is not None:
            self._timer.cancel()
        self._poll()

    def ring(self) -> None:
        """Look what has arrived; from whatever thread."""
        try:
            is_here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            is_here = False
        if is_here:
            self._look()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._look)

    def close(self) -> None:
        """Watch no more."""
        self._end()
        self.forget()
        self._wakers.clear()
        if self._ear is not None:
            os.close(self._ear)
            self._ear = None

    def forget(self) -> None:
        """Hear of no more publishing; all that a forked child may do with it."""
        with _lock:
            _watches.get(self.identity, weakref.WeakSet()).discard(self)
            if not _watches.get(self.identity):
                _watches.pop(self.identity, None)

    def _last(self) -> int:
        [(position,)] = self._reader.execute(SQL["newest"]).fetchall()
        return int(position)

    def _data_version(self) -> int:
        [(version,)] = self._reader.execute("PRAGMA data_version").fetchall()
        return int(version)

    def _poll(self) -> None:
        try:
            version = self._data_version()
        except OUT_OF_REACH:
            version = -1  # Whoever takes finds out by itself.
        if version != self._version:
            self._version = version
            self._pace = POLL_SECONDS_MIN
            self._look()
        self._timer = self._loop.call_later(self._pace, self._poll) if self._waiting else None
        self._pace = min(self._pace * POLL_GROWTH, self._pace_max)

    def _look(self) -> None:
        """Wake the subscriptions of what has arrived since the last look."""
        if not self._wakers:
            return  # Closed, or nobody is interested: whoever subscribes looks for itself.
        try:
            arrived = self._reader.execute(SQL["arrived"], (self._newest, LOOK_PAGES_MAX)).fetchall()
            is_all = sum(count for *_, count in arrived) < LOOK_PAGES_MAX
            self._newest = max((last for _, _, last, _ in arrived), default=self._newest)
            if not is_all:
                self._newest = self._last()
        except OUT_OF_REACH:
            arrived, is_all = [], False  # Whoever takes finds out by itself.
        if is_all:
            wakers = [wake for place in arrived for wake in self._wakers.get(place[:2], ())]
        else:
            wakers = [wake for each in self._wakers.values() for wake in each]
        for wake in wakers:
            wake()


def ring(file: Identity) -> None:
    """Tell every watch of this process that something was published in a file."""
    with _lock:
        watches = list(_watches.get(file, ()))
    for watch in watches:
        watch.ring()
