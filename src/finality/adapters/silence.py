"""Lines on which no answer comes: cut after a while, by one timer for all of them.

A timer of its own for each statement costs more than half of what asyncio does for the statement.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from weakref import WeakKeyDictionary

ANSWER_SECONDS_MAX = 30.0  # For what ends a branch; a line that is silent for longer is given up.
LOOK_SECONDS = 3.0  # A line is cut that much later at most.


class Silence:
    """The lines of one event loop that wait for an answer."""

    def __init__(self) -> None:
        self._since: dict[Callable[[], object], float] = {}
        self._is_looking = False

    def begins(self, cut: Callable[[], object]) -> None:
        """Hear that a line waits, with what cuts it."""
        loop = asyncio.get_running_loop()
        self._since[cut] = loop.time()
        if not self._is_looking:
            self._is_looking = True
            loop.call_later(LOOK_SECONDS, self._look)

    def ends(self, cut: Callable[[], object]) -> None:
        """Hear that it does so no more."""
        self._since.pop(cut, None)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        given_up = loop.time() - ANSWER_SECONDS_MAX
        for cut, since in [*self._since.items()]:
            if since <= given_up:
                del self._since[cut]
                cut()
        self._is_looking = bool(self._since)
        if self._is_looking:
            loop.call_later(LOOK_SECONDS, self._look)


_silences: WeakKeyDictionary[asyncio.AbstractEventLoop, Silence] = WeakKeyDictionary()


def silence() -> Silence:
    """Return that of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _silences.get(loop)
    if found is None:
        found = _silences[loop] = Silence()
    return found
