"""A projection into a Python object: gone with the process, and made anew from the first event on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, TypeVar

from finality.core.ids import START, Cursor
from finality.patterns.fold import FoldCode
from finality.runtime.context import Context
from finality.runtime.projecting import is_taken
from finality.runtime.sourcing import personal
from finality.runtime.sourcing.reading import event_of

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
        while await self._page():
            continue
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

    async def _page(self) -> bool:
        """Fold one page; say whether there was one."""
        context, types = await self._open(), self._code.types
        sources, codec, function = context.home.sources, context.codec, self._code.function
        page = await sources.facts(after=self._cursor)
        with await personal.of(codec, sources, None, page.events):
            events = [event_of(each, types, codec) for each in page.events if is_taken(each, types)]
        state = self.state
        for event in events:
            state = function(state, event)
        self.state, self._cursor = state, page.cursor
        self.events += len(events)
        return bool(page.events)
