"""Event sourcing without ``await``: at the node, and in a block."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from finality.core.backoff import Retry
from finality.core.ids import Version
from finality.core.personal import Personal
from finality.core.protocol import Recorded
from finality.core.sourcing import Meta
from finality.node.aggregates import Aggregates
from finality.node.transactions import CONFLICT_RETRY
from finality.patterns.aggregate import Aggregate
from finality.patterns.query import Events, Found
from finality.patterns.transaction import Transaction
from finality.runtime.sourcing.reading import At

A = TypeVar("A", bound=Aggregate[Any])
E = TypeVar("E")
T = TypeVar("T")

Wait = Callable[[Coroutine[Any, Any, Any]], Any]


class SyncAggregates:
    """What a node does with aggregates outside of any block."""

    asynchronous: Aggregates
    _wait: Wait

    def load(self, kind: type[A], id: str, *, at: At = None) -> A:
        """Return the aggregate as it is committed. See ``AsyncNode.load``."""
        return cast(A, self._wait(self.asynchronous.load(kind, id, at=at)))

    def decide(
        self,
        kind: type[A],
        id: str,
        decision: Callable[[A], Any],
        *,
        meta: Meta | None = None,
        retry: Retry = CONFLICT_RETRY,
    ) -> A:
        """Decide on the aggregate and append what *decision* returns. See ``AsyncNode.decide``."""
        return cast(A, self._wait(self.asynchronous.decide(kind, id, decision, meta=meta, retry=retry)))

    def append(self, aggregate: A, *events: Any, meta: Meta | None = None) -> A:
        """Append what was decided on *aggregate*. See ``AsyncNode.append``."""
        return cast(A, self._wait(self.asynchronous.append(aggregate, *events, meta=meta)))

    def aggregates(
        self, kind: type[A], *, after: str = "", with_archived: bool = False, limit: int = 100
    ) -> list[A]:
        """Return aggregates in the order of their ids. See ``AsyncNode.aggregates``."""
        listed = self.asynchronous.aggregates(kind, after=after, with_archived=with_archived, limit=limit)
        return cast(list[A], self._wait(listed))

    def events(self, kind: type[Aggregate[Any]], id: str) -> list[Recorded]:
        """Return everything that happened to the aggregate. See ``AsyncNode.events``."""
        return cast(list[Recorded], self._wait(self.asynchronous.events(kind, id)))

    def archive(self, kind: type[Aggregate[Any]], id: str, *, because: str, by: str = "operator") -> bool:
        """Close the aggregate for ever. See ``AsyncNode.archive``."""
        return bool(self._wait(self.asynchronous.archive(kind, id, because=because, by=by)))

    def forget(self, subject: str, *, because: str = "", by: str = "operator") -> None:
        """Delete the key of everything personal that is kept about *subject*. See ``AsyncNode.forget``."""
        self._wait(self.asynchronous.forget(subject, because=because, by=by))


class BlockSourcing:
    """Event sourcing in ``with node.transaction() as tx``."""

    _tx: Transaction
    _wait: Wait

    def load(self, kind: type[A], id: str, *, at: At = None) -> A:
        """Return the aggregate as this transaction sees it. See ``SyncTx.load``."""
        return cast(A, self._wait(self._tx.load(kind, id, at=at)))

    def append(self, grounds: Aggregate[E] | Found[Any], *events: E, meta: Meta | None = None) -> Version:
        """Append what was decided, in this very commit. See ``SyncTx.append``."""
        return Version(self._wait(self._tx.append(grounds, *events, meta=meta)))

    def read(self, events: Events[E]) -> Found[E]:
        """Return the events that are asked for, oldest first, to decide on them and append."""
        return cast(Found[E], self._wait(self._tx.read(events)))

    def token(self) -> str:
        """Return what stands for all that this transaction has appended so far. See ``SyncTx.token``."""
        return str(self._wait(self._tx.token()))

    def reveal(self, value: Personal[T]) -> T:
        """Return what personal data is that came in with an event. See ``SyncTx.reveal``."""
        return cast(T, self._wait(self._tx.reveal(value)))
