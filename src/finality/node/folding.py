"""A projection into a Python object: gone with the process, and made anew from the first event on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, TypeVar

from finality.core.ids import START, Cursor
from finality.patterns.fold import FoldCode
from finality.ports.codec import Codec
from finality.runtime.context import Context
from finality.runtime.sourcing import personal
from finality.runtime.sourcing.ahead import Ahead
from finality.runtime.sourcing.reading import KnownEvents

S = TypeVar("S")

FOLLOW_SECONDS = 0.05  # How soon a commit is seen; a look costs little.


class Fold(Generic[S]):
    """Folds events into a state; one task at a time.

    Attributes:
        state: What the events so far have made.
        events: How many of them it has taken.
    """

    def __init__(self, open_: Callable[[], Awaitable[Context]], state: S, code: FoldCode) -> None:
        self.state = state
        self.events = 0
        self._open, self._code = open_, code
        self._cursor: Cursor = START

    async def catch_up(self) -> S:
        """Fold all that is committed now and return the state.

        Raises:
            Stuck: An event cannot be read; the state is that before its page.
        """
        context = await self._open()
        pages, known = Ahead(context.home.sources), KnownEvents(self._code.types, context.codec)
        try:
            while await self._page(pages, known, context.codec):
                continue
        finally:
            await pages.close()
        return self.state

    async def follow(self) -> AsyncGenerator[S, None]:
        """Yield the state whenever events have changed it, first when it has caught up; without an end."""
        yield await self.catch_up()
        while True:
            before = self.events
            await self.catch_up()
            if self.events != before:
                yield self.state
            else:
                await asyncio.sleep(FOLLOW_SECONDS)

    async def _page(self, pages: Ahead, known: KnownEvents, codec: Codec) -> bool:
        """Fold one page; say whether there was one."""
        page, taken, function = await pages.behind(self._cursor), known.taken, self._code.function
        with await personal.of(codec, pages.sources, None, page.events):
            events = [event for each in page.events if (event := taken(each)) is not None]
        state = self.state
        for event in events:
            state = function(state, event)
        self.state, self._cursor = state, page.cursor
        self.events += len(events)
        return bool(page.events)
