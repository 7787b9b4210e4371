"""Event sourcing in a transaction: ``tx.load``, ``tx.append`` and ``tx.read``."""

from __future__ import annotations

from functools import cached_property
from typing import Any, TypeVar, cast

from finality.adapters.opentelemetry.trace_context import current_traceparent
from finality.core.errors import DefinitionError
from finality.core.ids import StreamName, Version
from finality.core.personal import Personal
from finality.core.sourcing import Meta, Snapshot, aggregate_stream
from finality.patterns.aggregate import Aggregate, kind_of
from finality.patterns.event import event_type
from finality.patterns.outbox import Origin
from finality.patterns.query import Events, Found
from finality.patterns.tx_part import TxPart
from finality.ports.codec import Codec, DecodeError
from finality.ports.sources import Source, Sources
from finality.ports.store import LocalTransaction
from finality.runtime.sourcing.kind import Kind
from finality.runtime.sourcing.personal import within
from finality.runtime.sourcing.reading import At, Folding, KnownEvents, usable
from finality.runtime.sourcing.writing import facts_of, meta_of, record

T = TypeVar("T")
E = TypeVar("E")
A = TypeVar("A", bound=Aggregate[Any])

BOUNDARY = "boundary"
"""The category of streams that belong to no aggregate: each holds what was decided on a query once."""


class Book:
    """What one transaction loads and appends."""

    def __init__(self, codec: Codec, origin: Origin) -> None:
        self._codec = codec
        self._origin = origin
        self._appended: dict[StreamName, Version] = {}

    def load(self, local: Any, cls: type[A], id: str, at: At) -> A:
        """Return an aggregate as this transaction sees it."""
        sources, kind = sources_of(local), kind_of(cls)
        source = sources.find(aggregate_stream(kind.name, id))
        with within(self._codec, sources):
            try:
                return cast(A, self._folded(sources, kind, id, source, usable(kind, source, at), at))
            except DecodeError:  # The snapshot is only a short cut: the events say it all.
                return cast(A, self._folded(sources, kind, id, source, None, at))

    def _folded(
        self, sources: Sources, kind: Kind, id: str, source: Source | None, snapshot: Snapshot | None, at: At
    ) -> Any:
        folding = Folding(kind, id, source, snapshot, at, self._codec)
        while (rest := folding.rest) is not None:
            folding.take(sources.read(rest, after=folding.version))
        return folding.aggregate()

    def append(
        self,
        local: Any,
        grounds: Aggregate[Any] | Found[Any],
        events: tuple[Any, ...],
        meta: Meta | None,
        span: str | None,
    ) -> Version:
        """Append to an aggregate's stream, or what was decided on a query."""
        sources = sources_of(local)
        origin = self._origin
        span = origin.traceparent or span
        known = meta_of(meta, origin.correlation_id, origin.causation_id, span, self._codec)
        if isinstance(grounds, Found):
            return self._conclude(sources, grounds, events, known)
        kind, loaded = kind_of(type(grounds)), grounds.loaded
        stream = aggregate_stream(kind.name, loaded.id)
        if self._appended.get(stream, loaded.version) > loaded.version:
            raise DefinitionError(
                f"{kind.name} {loaded.id} was loaded before this transaction appended to it: load it again, "
                "and decide on what it is now"
            )
        with within(self._codec, sources):
            version, _ = record(sources, kind, grounds, loaded, events, known, self._codec)
        self._appended[stream] = version
        return version

    def _conclude(
        self, sources: Sources, found: Found[Any], events: tuple[Any, ...], meta: bytes | None
    ) -> Version:
        sources.hold(found.asked.query, expected=len(found))
        if not events:
            return Version(0)
        types = {type(event): event_type(type(event)) for event in events}
        with within(self._codec, sources):
            facts = facts_of(events, types, meta, BOUNDARY, self._codec)
        sources.record(StreamName(f"{BOUNDARY}/{sources.new_id()}"), facts, expected=Version(0))
        return Version(len(facts))

    def read(self, local: Any, asked: Events[E]) -> Found[E]:
        """Return the events that are asked for, as this transaction sees them."""
        sources = sources_of(local)
        with within(self._codec, sources):
            recorded = sources.matching(asked.query)
            return Found(asked, tuple(map(KnownEvents(asked.types, self._codec).told, recorded)))

    def reveal(self, local: Any, value: Personal[T]) -> T:
        """Return what personal data is, also if it came from outside and is still sealed."""
        with within(self._codec, sources_of(local)):
            return cast(T, self._codec.reopened(value).reveal())


def sources_of(local: Any) -> Sources:
    """Return what event sourcing can do in a transaction of the home store.

    Raises:
        DefinitionError: It is another store's.
    """
    sources = getattr(local, "sources", None)
    if sources is None:
        raise DefinitionError(
            "aggregates are kept in the home store, and this transaction works in another one: leave at= out"
        )
    return cast(Sources, sources)


class SyncSourcing:
    """Event sourcing for plain functions."""

    _local: LocalTransaction
    _codec: Codec
    _origin: Origin

    @cached_property
    def _book(self) -> Book:  # Most transactions neither load nor append.
        return Book(self._codec, self._origin)

    def load(self, kind: type[A], id: str, *, at: At = None) -> A:
        """Return the aggregate as this transaction sees it; one without events is in its empty state.

        Args:
            at: As it was at a version, or at a time; such a one is only looked at.

        Raises:
            NotFound: It has no such version.
            Stuck: One of its events cannot be read.
            DefinitionError: The class is no aggregate, or this is not the home store.
        """
        return self._book.load(self._local, kind, id, at)

    def append(self, grounds: Aggregate[E] | Found[Any], *events: E, meta: Meta | None = None) -> Version:
        """Append what was decided, all or none, in this very commit; return the stream's new version.

        Args:
            grounds: What it was decided on: an aggregate that was loaded, or events that were read.
            meta: What to keep of them besides; what they followed from is the saga or transaction by default.

        Raises:
            Conflict: Somebody was first, now or at the commit; load it again and decide anew.
            Refused: The aggregate is archived.
            DefinitionError: It does not take such events, or was loaded with *at*.
        """
        return self._book.append(self._local, grounds, events, meta, current_traceparent())

    def read(self, events: Events[E]) -> Found[E]:
        """Return the events that are asked for, oldest first, to decide on them and append."""
        return self._book.read(self._local, events)

    def token(self) -> str:
        """Return what stands for all that this transaction has appended so far, and for what was before.

        Give it to ``node.wait_for`` once this transaction has committed; until then it says nothing.

        Raises:
            DefinitionError: This is not the home store.
        """
        return sources_of(self._local).token()

    def reveal(self, value: Personal[T]) -> T:
        """Return what personal data is that came in with an event, and is sealed until a key is at hand.

        Raises:
            Erased: The person was forgotten, or is not known in this home store.
        """
        return self._book.reveal(self._local, value)


class AsyncSourcing(TxPart):
    """Event sourcing for ``async`` functions."""

    def __init__(self, codec: Codec, origin: Origin) -> None:
        self._codec = codec
        self._origin = origin

    @cached_property
    def _book(self) -> Book:  # Most transactions neither load nor append.
        return Book(self._codec, self._origin)

    async def load(self, kind: type[A], id: str, *, at: At = None) -> A:
        """Return the aggregate as this transaction sees it. See ``SyncTx.load``."""
        return await self._call(lambda local: self._book.load(local, kind, id, at))

    async def append(
        self, grounds: Aggregate[E] | Found[Any], *events: E, meta: Meta | None = None
    ) -> Version:
        """Append what was decided, all or none, in this very commit. See ``SyncTx.append``.

        Raises:
            Conflict: Somebody was first, now or at the commit; load it again and decide anew.
        """
        span = current_traceparent()  # The store's thread knows none.
        return await self._call(lambda local: self._book.append(local, grounds, events, meta, span))

    async def read(self, events: Events[E]) -> Found[E]:
        """Return the events that are asked for, oldest first, to decide on them and append."""
        return await self._call(lambda local: self._book.read(local, events))

    async def token(self) -> str:
        """Return what stands for all that this transaction has appended so far. See ``SyncTx.token``."""
        return await self._call(lambda local: sources_of(local).token())

    async def reveal(self, value: Personal[T]) -> T:
        """Return what personal data is that came in with an event. See ``SyncTx.reveal``."""
        return await self._call(lambda local: self._book.reveal(local, value))
