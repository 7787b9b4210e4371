"""The subscriptions that a broker has open: they end with it."""

from __future__ import annotations

import contextlib
from typing import Generic, Protocol, TypeVar

from finality.core.errors import FinalityError


class Closable(Protocol):
    """A subscription, as far as it has to end."""

    @property
    def is_closed(self) -> bool:
        """Say whether it has ended."""

    async def close(self) -> None:
        """End it."""


S = TypeVar("S", bound=Closable)


class Subscriptions(Generic[S]):
    """Those that were begun, without those that have ended."""

    def __init__(self) -> None:
        self._open: list[S] = []

    def add(self, subscription: S) -> S:
        """Have it end with the broker."""
        self._open = [each for each in self._open if not each.is_closed]
        self._open.append(subscription)
        return subscription

    async def close(self) -> None:
        """End them all."""
        for subscription in self._open:
            with contextlib.suppress(FinalityError):  # What it has in hand goes to whoever comes next.
                await subscription.close()
