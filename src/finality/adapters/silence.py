"""Lines on which no answer comes: cut after a while, by one timer for all that lead to a server.

A timer of its own for each statement costs more than half of what asyncio does for the statement.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

ANSWER_SECONDS_MAX = 30.0  # For what ends a branch; a line that is silent for longer is given up.
LOOK_SECONDS = 3.0  # A line is cut that much later at most.
LOOKS_MAX = round(ANSWER_SECONDS_MAX / LOOK_SECONDS)  # To count them takes no clock.


class Silence:
    """The lines to one server that wait for an answer."""

    def __init__(self) -> None:
        self._since: dict[Callable[[], object], int] = {}
        self._looks = 0
        self._is_looking = False

    def begins(self, cut: Callable[[], object]) -> None:
        """Hear that a line waits, with what cuts it."""
        self._since[cut] = self._looks
        if not self._is_looking:
            self._look_later()

    def ends(self, cut: Callable[[], object]) -> None:
        """Hear that it does so no more."""
        self._since.pop(cut, None)

    def _look_later(self) -> None:
        self._is_looking = True
        asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._looks += 1
        for cut, since in [*self._since.items()]:
            if self._looks - since > LOOKS_MAX:
                del self._since[cut]
                cut()
        self._is_looking = False
        if self._since:
            self._look_later()
