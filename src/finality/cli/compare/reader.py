"""Somebody who looks at the account and the payments all the time, and notes when they do not fit."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

from finality.cli.compare.place import Place
from finality.cli.compare.way import Way
from finality.cli.compare.withdrawal import LOOK_AT_ACCOUNT, LOOK_AT_PAYMENTS, Books

LOOK_SECONDS = 0.002


class Reader:
    """Reads the books.

    Attributes:
        reads: How often it has looked.
        apart: How often money was on the account and paid as well, or nowhere.
        apart_seconds: For how long altogether.
        held_seconds: For how long money was set aside.
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
        place, bank, provider = self._place, self._way.bank, self._way.provider
        if bank == provider:
            both = f"SELECT * FROM ({LOOK_AT_ACCOUNT}) AS a, ({LOOK_AT_PAYMENTS}) AS p"  # noqa: S608 - our own constants
            [row] = await place.execute(bank, both)
        else:
            [at_bank] = await place.execute(bank, LOOK_AT_ACCOUNT)
            [at_provider] = await place.execute(provider, LOOK_AT_PAYMENTS)
            row = (*at_bank, *at_provider)
        return Books(*row)

    @contextlib.asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        """Look again and again while the block runs; what was noted before is forgotten."""
        self.reads = self.apart = 0
        self.apart_seconds = self.held_seconds = 0.0
        looking = asyncio.ensure_future(self._look((await self.books()).total))
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.wait([looking])
            if not looking.cancelled():
                looking.result()  # It has failed.

    async def _look(self, total: int) -> None:
        before = time.perf_counter()
        while True:
            is_excused = self._excuse is not None and not self._excuse.done()
            books = await self.books()
            now = time.perf_counter()
            self.reads += 1
            if books.total != total and not is_excused:
                self.apart += 1
                self.apart_seconds += now - before
            if books.held:
                self.held_seconds += now - before
            before = now
            await asyncio.sleep(LOOK_SECONDS)
