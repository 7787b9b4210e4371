"""Event sourcing at the node: aggregates loaded, decided on, listed and closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

from finality.adapters.opentelemetry.trace_context import current_traceparent
from finality.core.backoff import Retry
from finality.core.errors import Conflict, NotFound
from finality.core.ids import StreamName, Version
from finality.core.protocol import Recorded
from finality.core.sourcing import (
    ARCHIVED,
    FORGOTTEN_PREFIX,
    Archived,
    Fact,
    Forgotten,
    Meta,
    Snapshot,
    aggregate_stream,
    category_prefix,
    check_id,
    id_of,
)
from finality.node.life import Life
from finality.node.transactions import CONFLICT_RETRY
from finality.patterns.aggregate import Aggregate, kind_of
from finality.ports.codec import DecodeError
from finality.ports.sources import Source, Sources
from finality.runtime.restraint import check_not_projecting
from finality.runtime.sourcing import personal
from finality.runtime.sourcing.kind import Kind, Loaded, placed
from finality.runtime.sourcing.reading import At, Folding, KnownEvents, pages, usable
from finality.runtime.sourcing.turn import written
from finality.runtime.sourcing.writing import meta_of, record

A = TypeVar("A", bound=Aggregate[Any])


class Aggregates(Life):
    """What a node does with aggregates outside of any block."""

    async def load(self, kind: type[A], id: str, *, at: At = None) -> A:
        """Return the aggregate as it is committed; one without events is in its empty state.

        Args:
            at: As it was at a version, or at a time; such a one is only looked at.

        Raises:
            NotFound: It has no such version.
            Stuck: One of its events cannot be read.
            DefinitionError: The class is no aggregate.
        """
        await self.opened()
        known = kind_of(kind)
        source = await self._context.home.sources.find(aggregate_stream(known.name, id))
        return cast(A, await self._folded(known, id, source, at))

    async def _folded(self, kind: Kind, id: str, source: Source | None, at: At = None) -> Any:
        snapshot = usable(kind, source, at)
        try:
            return await self._begun(kind, id, source, snapshot, at)
        except DecodeError:  # The snapshot is only a short cut: the events say it all.
            return await self._begun(kind, id, source, None, at)

    async def _begun(
        self, kind: Kind, id: str, source: Source | None, snapshot: Snapshot | None, at: At
    ) -> Any:
        sources = self._context.home.sources
        with await personal.of(self._codec, sources, source, ()):
            folding = Folding(kind, id, source, snapshot, at, self._codec)
        while (rest := folding.rest) is not None:
            events = await sources.read(rest, after=folding.version)
            with await personal.of(self._codec, sources, None, events):
                folding.take(events)
        return folding.aggregate()

    async def decide(
        self,
        kind: type[A],
        id: str,
        decision: Callable[[A], Any],
        *,
        meta: Meta | None = None,
        retry: Retry = CONFLICT_RETRY,
    ) -> A:
        """Decide on the aggregate and append what *decision* returns, durable on return; many share a commit.

        ``await node.decide(Account, "acc-1", lambda account: account.withdraw(30))``. When somebody was
        first, it is loaded again and decided anew, with a wait that grows.

        Args:
            decision: Returns an event, several of them, or None. It may be called more than once.
            meta: What to keep of the events besides.
            retry: How often, and how long apart.

        Returns:
            The aggregate with what was decided.

        Raises:
            Refused: The decision says no, or the aggregate is archived; nothing was written.
            Conflict: Somebody was first each time.
        """
        await self.opened()
        known = kind_of(kind)
        attempt = 1
        while True:
            aggregate = await self.load(kind, id)
            events = _listed(known, decision(aggregate))
            if not events:
                return aggregate
            try:
                return await self.append(aggregate, *events, meta=meta)
            except Conflict:
                if retry.is_exhausted(attempt):
                    raise
            await asyncio.sleep(retry.delay_seconds(attempt, self._environment.chance()))
            attempt += 1

    async def append(self, aggregate: A, *events: Any, meta: Meta | None = None) -> A:
        """Append what was decided on *aggregate*, all or none; durable on return, and many share a commit.

        Returns:
            The aggregate with the events, to decide on further.

        Raises:
            Conflict: Somebody was first; load it again and decide anew, or let ``decide`` do it.
            Refused: It is archived.
            DefinitionError: It does not take such events, or was loaded with *at*.
        """
        check_not_projecting("append events")
        if not self._is_open:
            await self.opened()
        known, loaded, codec = kind_of(type(aggregate)), aggregate.loaded, self._codec
        with self.settings.tracing.append(self.settings.url, known.name, loaded.id, len(events)):
            kept = meta_of(meta, None, None, current_traceparent(), codec)

            def work(sources: Sources) -> tuple[Version, int | None]:
                with personal.within(codec, sources):
                    return record(sources, known, aggregate, loaded, events, kept, codec)

            version, key = await written(self._context.home, f"append to {known.name} {loaded.id}", work)
        for event in events:
            aggregate = aggregate.evolve(event)
        return cast(A, placed(aggregate, Loaded(loaded.id, version, key=key)))

    async def aggregates(
        self, kind: type[A], *, after: str = "", with_archived: bool = False, limit: int = 100
    ) -> list[A]:
        """Return aggregates in the order of their ids; each knows its own, as ``.loaded.id``.

        Args:
            after: Continues behind the last id of a page.
            with_archived: Also those that are closed.
            limit: How long a page is.
        """
        await self.opened()
        known = kind_of(kind)
        prefix = category_prefix(known.name)
        behind = prefix + check_id(after) if after else ""
        listed = await self._context.home.sources.listed(
            prefix, after=behind, with_archived=with_archived, limit=limit
        )
        return [cast(A, await self._folded(known, id_of(each.name), each)) for each in listed]

    async def events(self, kind: type[Aggregate[Any]], id: str) -> list[Recorded]:
        """Return everything that happened to the aggregate, oldest first, with what is known of it besides.

        Raises:
            NotFound: There is no such aggregate.
            Stuck: One of its events cannot be read.
        """
        await self.opened()
        known = kind_of(kind)
        source = await self._source(known, id)
        sources = self._context.home.sources
        told, found = KnownEvents(known.types, self._codec).told, list[Recorded]()
        async for page in pages(sources, source):
            with await personal.of(self._codec, sources, None, page):
                found += map(told, page)
        return found

    async def _source(self, kind: Kind, id: str) -> Source:
        source = await self._context.home.sources.find(aggregate_stream(kind.name, id))
        if source is None:
            raise NotFound(
                f"no {kind.name} has the id {id!r} in {self.settings.shown_url}: check the id and the store"
            )
        return source

    async def archive(
        self, kind: type[Aggregate[Any]], id: str, *, because: str, by: str = "operator"
    ) -> bool:
        """Close the aggregate for ever, durable on return: it takes no more events and is listed no more.

        What happened to it can still be read.

        Args:
            because: Why; it is kept as its last event.
            by: Who wants it.

        Returns:
            False when it is closed already.

        Raises:
            NotFound: There is no such aggregate.
        """
        await self.opened()
        known = kind_of(kind)
        attempt = 1
        while True:
            source = await self._source(known, id)
            if source.is_archived:
                return False
            last = Fact(ARCHIVED, self._codec.pack(Archived(because, by)))
            try:
                await written(
                    self._context.home,
                    f"archiving of {known.name} {id}",
                    lambda sources: _close(sources, source, last),  # noqa: B023 - it has run before the next round
                )
                return True
            except Conflict:
                if CONFLICT_RETRY.is_exhausted(attempt):
                    raise
            await asyncio.sleep(CONFLICT_RETRY.delay_seconds(attempt, self._environment.chance()))
            attempt += 1

    async def forget(self, subject: str, *, because: str = "", by: str = "operator") -> None:
        """Delete the key of everything personal that is kept about *subject*, for ever; durable on return.

        Whatever is read from now on shows it as erased: events, snapshots, the outbox, and every copy.
        Under the same name nothing personal is kept any more. Projections that take ``Forgotten`` hear of
        it; what others have written into their tables stays until they are rebuilt.

        Args:
            because: Why; it is kept with that event.
            by: Who wants it.
        """
        await self.opened()
        meta = meta_of(Meta(by, more={"because": because} if because else {}), None, None, None, self._codec)
        told = Fact("Forgotten", self._codec.pack(Forgotten(subject)), meta)

        def work(sources: Sources) -> None:
            sources.forget(subject)
            stream = StreamName(f"{FORGOTTEN_PREFIX}{sources.new_id()}")
            sources.record(stream, [told], expected=Version(0))

        await written(self._context.home, "forgetting a person", work)


def _listed(kind: Kind, decided: Any) -> tuple[Any, ...]:
    if decided is None:
        return ()
    if type(decided) in kind.by_class or not isinstance(decided, Iterable):
        return (decided,)
    return tuple(decided)


def _close(sources: Sources, source: Source, last: Fact) -> None:
    sources.record(source.name, [last], expected=source.version, key=source.key)
    sources.archive(StreamName(source.name))
