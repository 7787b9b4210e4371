"""Several things at once, without a task for the first of them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return what *works* return, in their order; whatever one raises, the others run to their end.

    Most transactions have two branches, and a task costs as much as a third of a round trip.
    """
    first, *others = works
    tasks = [asyncio.get_running_loop().create_task(each) for each in others]
    try:
        return [await first, *[await task for task in tasks]]
    except BaseException:
        asyncio.gather(*tasks, return_exceptions=True)  # So that nobody misses what they raise.
        raise
