"""A call of the user's that may take so long and no longer: it has failed, then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def within(seconds: float | None, work: Awaitable[T]) -> T:
    """Return what *work* returns; without *seconds* it takes as long as it takes.

    Raises:
        TimeoutError: It was cancelled after so many seconds.
    """
    if seconds is None:
        return await work
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await work
    except TimeoutError as error:
        if not limit.expired():
            raise  # The work's own, from a socket perhaps.
        raise TimeoutError(f"no answer within {seconds:g} seconds") from error
