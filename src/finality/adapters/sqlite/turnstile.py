"""Where the processes that write one SQLite file wait until the write turn is theirs.

SQLite's write lock can only be tried again and again: whoever has just committed finds it free, and who
tries now and then finds it taken. So they line up for another lock first, for which the kernel lets them
sleep:

```
    first      ── the log's file locked ──▶ SQLite's write lock ── commit ──▶ both given back
    the others ── asleep, a thread of each, until the kernel makes it first
```

SQLite never locks the log's own file. Its write lock alone decides who may write: who does not come by
here is kept out by it, and who has stood in line for too long asks it directly, because the first may
have been stopped.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from queue import Empty, SimpleQueue

PATIENCE_SECONDS = 1.0  # Many times what a shared commit takes.
IDLE_SECONDS = 5.0  # After which the thread ends: a node alone on its file needs none.
LOOK_SECONDS = 0.05  # How soon who stands in line sees that it has lost its patience.


class Turnstile:
    """One writer's way to the front; belongs to the writer's thread."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._place: int | None = None  # The descriptor that is locked while we are first.
        self._came_at: float | None = None  # Since when we want to be, and somebody else is.
        self._lock = threading.Lock()  # Of what the thread that stands in line shares with us.
        self._thread: threading.Thread | None = None
        self._is_in_line = False
        self._is_stuck = False  # The line has not moved; it has when that thread is first.
        self._asked: SimpleQueue[int | None] = SimpleQueue()
        self._handed: SimpleQueue[int] = SimpleQueue()

    def enter(self) -> bool:
        """Become first if nobody is, or stand in line; say whether SQLite's lock may be asked for now."""
        if self._place is not None or self._is_stuck:
            return True
        if self._came_at is not None:
            return self._is_impatient(self._came_at)
        try:
            place = os.open(self._path, os.O_RDONLY)
        except OSError:
            return True  # SQLite will say what is wrong with its files.
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._stand_in_line(place)
            return False
        except OSError:
            os.close(place)  # This file system has no such locks.
            return True
        self._place = place
        return True

    def wait(self, seconds: float) -> None:
        """Wait until we are first, at most for a while; *seconds*, if it is not the line that we wait for."""
        if self._came_at is None:
            time.sleep(seconds)
            return
        with contextlib.suppress(Empty):
            self._place = self._handed.get(timeout=LOOK_SECONDS)
            self._came_at = None

    def leave(self) -> None:
        """Be first no more, and want it no more."""
        if self._came_at is not None:
            self._stop_waiting()
        if self._place is not None:
            place, self._place = self._place, None
            _give_back(place)

    def close(self) -> None:
        """End the thread; one that still stands in line ends when it is first."""
        self.leave()
        with self._lock:
            thread = self._thread
            self._asked.put(None)
        if thread is not None:
            thread.join(LOOK_SECONDS)

    def _is_impatient(self, came_at: float) -> bool:
        if time.monotonic() - came_at < PATIENCE_SECONDS:
            return False
        with self._lock:
            self._is_stuck = self._handed.empty()
        self._stop_waiting()
        return True

    def _stop_waiting(self) -> None:
        with self._lock:
            self._came_at = None
            if not self._handed.empty():
                self._place = self._handed.get()

    def _stand_in_line(self, place: int) -> None:
        with self._lock:
            self._came_at = time.monotonic()
            if self._is_in_line:  # Since we last gave up.
                os.close(place)
                return
            self._is_in_line = True
            self._asked.put(place)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="finality turnstile", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        """Become first when asked to, however long that takes: hence on a thread of its own."""
        while (place := self._next()) is not None:
            fcntl.flock(place, fcntl.LOCK_EX)
            with self._lock:
                self._is_in_line = self._is_stuck = False
                if self._came_at is None:
                    _give_back(place)
                else:
                    self._handed.put(place)

    def _next(self) -> int | None:
        try:
            return self._asked.get(timeout=IDLE_SECONDS)
        except Empty:
            with self._lock:
                if not self._asked.empty():
                    return self._asked.get()
                self._thread = None
                return None


def _give_back(place: int) -> None:
    # Closing alone does not unlock what a forked child has open, too.
    fcntl.flock(place, fcntl.LOCK_UN)
    os.close(place)
