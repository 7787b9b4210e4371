"""The turns of a broker that somebody hears of, and the one that nobody waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from finality.adapters.group_commit import Writer
from finality.adapters.scope import answer
from finality.adapters.sqlite.broker_transaction import BrokerTransaction
from finality.core.errors import OutcomeUnknown, Unavailable

T = TypeVar("T")

PRUNE_PAGES_MAX = 100  # A turn: some 10 ms, in which nobody else writes.

Work = Callable[[BrokerTransaction], T]


class Ask(Generic[T]):
    """Fulfils ``ports.store.Turn``: does something, and tells what came of it once that is durable."""

    def __init__(
        self, name: str, work: Work[T], tell: Callable[[BaseException | None, T | None], None]
    ) -> None:
        self.name = name
        self._work = work
        self._tell = tell
        self._found: T | None = None

    def run(self, tx: BrokerTransaction) -> None:
        """Do it."""
        self._found = self._work(tx)

    def forget(self) -> None:
        """Do it anew."""
        self._found = None

    def settle(self, error: BaseException | None) -> None:
        """Tell."""
        self._tell(error, self._found)


def ask(writer: Writer, name: str, work: Work[T]) -> Awaitable[T]:
    """Return what *work* does, to be awaited until it is durable.

    Raises:
        Unavailable: It was not done, or nobody knows; it may be asked again.
    """
    done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def tell(error: BaseException | None, found: T | None) -> None:
        answer(done, Unavailable(str(error)) if isinstance(error, OutcomeUnknown) else error, found)

    writer.put(Ask(name, work, tell))
    return done


class Prune:
    """Forgets what was kept long enough, batch after batch, each in a commit of its own."""

    name = "pruning of events"

    def __init__(self, before: float) -> None:
        self._before = before
        self._pruned = 0

    def run(self, tx: BrokerTransaction) -> None:
        """Forget a batch."""
        self._pruned = tx.prune(self._before, PRUNE_PAGES_MAX)

    def following(self) -> Prune | None:
        """Go on if there may be more."""
        return self if self._pruned >= PRUNE_PAGES_MAX else None

    def forget(self) -> None:
        """Begin anew."""

    def settle(self, error: BaseException | None) -> None:
        """Leave it to the next one, whatever became of this."""
