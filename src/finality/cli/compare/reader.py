"""Somebody who looks at all databases all the time, and notes when they do not fit together."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from finality.cli.compare.place import Place
from finality.cli.compare.way import Books, Way

LOOK_SECONDS = 0.002


class Reader:
    """Reads the books.

    Attributes:
        reads: How often it has looked.
        apart: How often something was half done.
        apart_seconds: For how long altogether.
        held_seconds: For how long something was set aside.
    """

    def __init__(self, way: Way, place: Place) -> None:
        self.reads = self.apart = 0
        self.apart_seconds = self.held_seconds = 0.0
        self._way = way
        self._place = place
        self._excuse: asyncio.Future[Any] | None = None

    def excuse(self, work: asyncio.Future[Any]) -> None:
        """Put down to *work*, until it has ended, whatever does not fit from now on."""
        self._excuse = work

    async def books(self) -> Books:
        """Read the books once."""
        return await self._way.books(self._place)

    @contextlib.asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        """Look again and again while the block runs; what was noted before is forgotten."""
        self.reads = self.apart = 0
        self.apart_seconds = self.held_seconds = 0.0
        looking = asyncio.ensure_future(self._look())
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.wait([looking])
            if not looking.cancelled():
                looking.result()  # It has failed.

    async def _look(self) -> None:
        before = time.perf_counter()
        while True:
            is_excused = self._excuse is not None and not self._excuse.done()
            books = await self.books()
            now = time.perf_counter()
            self.reads += 1
            if not books.is_whole and not is_excused:
                self.apart += 1
                self.apart_seconds += now - before
            if books.is_held:
                self.held_seconds += now - before
            before = now
            await asyncio.sleep(LOOK_SECONDS)
