"""How a journal is followed: page after page, with a pause when there is nothing new."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from finality.core.ids import Cursor
from finality.core.protocol import Recorded
from finality.ports.journal import Journal

FOLLOW_SECONDS = 0.05  # How soon a follower sees a commit; a look costs little.


async def follow(journal: Journal, after: Cursor) -> AsyncIterator[Recorded]:
    """Yield every event behind *after*, and then each new one."""
    while True:
        page = await journal.page(after=after)
        for recorded in page.events:
            yield recorded
        after = page.cursor
        if not page.events:
            await asyncio.sleep(FOLLOW_SECONDS)
