"""Reads facts a page ahead, so that a server finds the next page while this one is folded.

```
    read 1 ──▶ fold 1 ──▶ fold 2 ──▶ fold 3
               read 2     read 3
```
"""

from __future__ import annotations

import asyncio

from finality.core.ids import Cursor
from finality.ports.journal import PAGE_EVENTS_MAX, Page
from finality.ports.sources import CommittedSources


class Ahead:
    """Pages of facts, for one task that reads one behind the other."""

    def __init__(self, sources: CommittedSources) -> None:
        self.sources = sources
        self._next: tuple[Cursor, int, asyncio.Future[Page]] | None = None

    async def behind(self, after: Cursor, limit: int = PAGE_EVENTS_MAX) -> Page:
        """Return the page behind a cursor."""
        page = await self._known(after, limit) or await self.sources.facts(after=after, limit=limit)
        # Behind a page that is not full there is nothing yet, and what will be there is not to be missed.
        if len(page.events) == limit:
            reading = asyncio.ensure_future(self.sources.facts(after=page.cursor, limit=limit))
            self._next = page.cursor, limit, reading
            await asyncio.sleep(0)  # It begins, before the caller has the loop to itself.
        return page

    async def _known(self, after: Cursor, limit: int) -> Page | None:
        """Return the page if it was read ahead and holds something; an empty one is out of date by now."""
        if self._next is None or self._next[:2] != (after, limit):
            await self.close()
            return None
        (_, _, reading), self._next = self._next, None
        page = await reading
        return page if page.events else None

    async def close(self) -> None:
        """Let go of what was read ahead."""
        if self._next is not None:
            (_, _, reading), self._next = self._next, None
            reading.cancel()
            await asyncio.wait([reading])
            if not reading.cancelled():
                reading.exception()  # Whoever wants that page asks again, and is told then.
