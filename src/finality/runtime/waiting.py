"""Who waits for a saga's end, and how they hear of it, also when another node drives it."""

from __future__ import annotations

import asyncio
from collections.abc import Set

from finality.core.errors import Unavailable
from finality.core.ids import TransactionId
from finality.core.saga import SagaState
from finality.ports.home import Head
from finality.runtime.context import Context

RESTING = frozenset({"stuck", "parked"})  # Without a person these never end.


class Waiting:
    """Futures by transaction id, resolved with the head of a saga that has ended or is stuck."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._futures: dict[TransactionId, list[asyncio.Future[SagaState | None]]] = {}

    def future(self, id: TransactionId) -> asyncio.Future[SagaState | None]:
        """Return what resolves once the saga has ended, or is stuck.

        It resolves with the saga's state if this node drove it, and with None if another did.
        """
        future: asyncio.Future[SagaState | None] = asyncio.get_running_loop().create_future()
        self._futures.setdefault(id, []).append(future)
        return future

    def ended(self, id: TransactionId, state: SagaState | None) -> None:
        """Tell everybody who waits for the saga."""
        for future in self._futures.pop(id, ()):
            if not future.done():
                future.set_result(state)

    def rests(self, id: TransactionId, state: SagaState) -> None:
        """Tell everybody that the saga needs a person, if it does."""
        if id in self._futures and (state.parked is not None or state.stuck):
            self.ended(id, state)

    async def look(self, in_hand: Set[TransactionId]) -> None:
        """See whether sagas that other nodes drive have ended; those *in_hand* tell it themselves."""
        for id in [*self._futures]:
            if id not in self._futures or id in in_hand:
                continue  # It was told while another was looked at.
            if all(future.done() for future in self._futures[id]):
                del self._futures[id]
                continue
            head = await self._context.home.find(id)
            if head is not None and is_over(head):
                self.ended(id, None)

    def close(self) -> None:
        """Tell everybody that this node will not know."""
        error = Unavailable("the node was closed while the outcome was awaited: ask again by id, at any node")
        for id in list(self._futures):
            for future in self._futures.pop(id):
                if not future.done():
                    future.set_exception(error)
                    future.exception()  # Whoever asked may look elsewhere just now, and never come back.


def is_over(head: Head) -> bool:
    """Say whether waiting on is of no use: it has ended, or needs a person."""
    return head.has_ended or head.status in RESTING
