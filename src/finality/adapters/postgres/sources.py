"""Event sourcing on PostgreSQL: facts, snapshots, tags and keys.

A decision on what a query matches locks its tags, and then counts what matches anew. Whoever records
an event shares the locks of its tags until its commit, so that one which commits late, whatever its
position, is either seen by the count or waits:

```
    decides   ──▶ hold c1 ──▶ count: 7 ──▶ record ──▶ commit
    records   ──▶ share c1 ········ waits ········ ──▶ insert ──▶ commit      it was the eighth
```
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from finality.adapters.checks import check_count, check_facts
from finality.adapters.postgres.cursor import Place as CursorPlace
from finality.adapters.postgres.cursor import shown_with
from finality.adapters.postgres.queries import QUERIES
from finality.adapters.postgres.rows import recorded_of, source_of
from finality.core.ids import START, Cursor, StreamName, Version
from finality.core.protocol import Recorded
from finality.core.sourcing import Fact, Match, Query, Snapshot
from finality.ports.codec import Codec
from finality.ports.journal import PAGE_EVENTS_MAX, Page
from finality.ports.sources import SOURCES_MAX, Source

if TYPE_CHECKING:
    from finality.adapters.postgres.home_transaction import PostgresHomeTransaction

Place = tuple[int, int]
"""Stream and version of an event."""


class PostgresSources:
    """Fulfils ``ports.sources.Sources``."""

    def __init__(self, tx: PostgresHomeTransaction, codec: Codec) -> None:
        self._tx = tx
        self._codec = codec

    def find(self, stream: StreamName) -> Source | None:
        """Return a stream. Nobody is kept from moving it, unless an append to it was wrong before."""
        found = self._tx.look("source", stream)
        if found and self._tx.is_locked(found[0][0]):
            found = self._tx.look("source", stream)
        return source_of(found[0]) if found else None

    def read(
        self, source: Source, *, after: Version = Version(0), limit: int = PAGE_EVENTS_MAX
    ) -> list[Recorded]:
        """Return its next events behind *after*."""
        limit = min(limit, source.version - after)
        return [recorded_of(row, self._codec) for row in self._tx.look("read", source.key, after, limit)]

    def record(
        self, stream: StreamName, facts: Sequence[Fact], *, expected: Version, key: int | None = None
    ) -> int:
        """Append *facts*; return the stream's key."""
        check_facts(facts)
        key = self._tx.moved(stream, expected, len(facts), key)
        self._tx.insert(key, expected, facts)
        return key

    def matching(self, query: Query) -> list[Recorded]:
        """Return every event that matches."""
        places = self._places(query)
        rows = self._tx.look("events_at", *_columns(places)) if places else []
        return [recorded_of(row, self._codec) for row in rows]

    def token(self) -> Cursor:
        """Return a cursor with a snapshot that will show what this transaction has recorded."""
        snapshot, own, cluster = self._tx.look("own_snapshot")[0]
        return Cursor(str(CursorPlace(cluster, seen=shown_with(snapshot, int(own)))))

    def new_id(self) -> str:
        """Return an id that no other stream has."""
        return self._tx.new_id()

    def hold(self, query: Query, *, expected: int) -> None:
        """Lock what the query asks for, and see that *expected* events match."""
        self._tx.write("hold_tags", sorted(query.tags))
        # A statement of its own: it sees what was committed while the one before it waited.
        check_count(query, expected, len(self._places(query)))

    def _places(self, query: Query) -> set[Place]:
        return {
            (row[0], row[1]) for match in query.matches for row in self._tx.look("matching", *_lists(match))
        }

    def archive(self, stream: StreamName) -> None:
        """Leave the stream out of listings."""
        self._tx.write("archive", stream)

    def keep_snapshot(self, stream: StreamName, snapshot: Snapshot) -> None:
        """Keep a snapshot."""
        self._tx.write("keep_snapshot", stream, snapshot.version, snapshot.shape, snapshot.data, self._tx.at)

    def subject_keys(self, subjects: Collection[str]) -> dict[str, bytes | None]:
        """Return the sealed keys of data subjects."""
        return {row[0]: row[1] for row in self._tx.look("subject_keys", [*subjects])}

    def keep_subject_key(self, subject: str, sealed: bytes) -> None:
        """Keep the sealed key of a new data subject."""
        self._tx.write("keep_subject_key", subject, sealed, self._tx.at)

    def forget(self, subject: str) -> None:
        """Delete the key of a data subject."""
        self._tx.write("forget", subject, self._tx.at)


class PostgresCommittedSources:
    """Fulfils ``ports.sources.CommittedSources``."""

    def __init__(
        self,
        rows: Callable[..., Awaitable[Sequence[Any]]],
        recorded: Callable[..., Awaitable[list[Recorded]]],
        placed: Callable[[Cursor], Awaitable[CursorPlace]],
    ) -> None:
        self._rows = rows
        self._recorded = recorded
        self._placed = placed

    async def find(self, stream: StreamName) -> Source | None:
        """Return a stream."""
        found = await self._rows(QUERIES["source"], stream)
        return source_of(found[0]) if found else None

    async def read(
        self, source: Source, *, after: Version = Version(0), limit: int = PAGE_EVENTS_MAX
    ) -> list[Recorded]:
        """Return its next events behind *after*."""
        return await self._recorded("read", source.key, after, min(limit, source.version - after))

    async def listed(
        self, prefix: str, *, after: str = "", with_archived: bool = False, limit: int = SOURCES_MAX
    ) -> list[Source]:
        """Return the streams whose names begin with *prefix*."""
        rows = await self._rows(QUERIES["listed"], prefix, after, with_archived, limit)
        return [source_of(row) for row in rows]

    async def matching(self, query: Query) -> list[Recorded]:
        """Return every event that matches."""
        places: set[Place] = set()
        for match in query.matches:
            places |= {(row[0], row[1]) for row in await self._rows(QUERIES["matching"], *_lists(match))}
        return await self._recorded("events_at", *_columns(places)) if places else []

    async def facts(
        self, *, after: Cursor = START, until: Cursor | None = None, limit: int = PAGE_EVENTS_MAX
    ) -> Page:
        """Return facts of all streams: what a snapshot shows and an earlier one did not."""
        place = await self._placed(after)
        if until is not None:
            end = await self._placed(until)
            # What of a page is behind us, another snapshot cannot tell: all of it counts as not read.
            place = replace(place, shown=end.seen or end.shown, position=0)
        events = await self._recorded(*place.asked("facts", limit))
        return Page(events, place.behind([event.position for event in events], limit))

    async def subject_keys(self, subjects: Collection[str]) -> dict[str, bytes | None]:
        """Return the sealed keys of data subjects."""
        return {row[0]: row[1] for row in await self._rows(QUERIES["subject_keys"], [*subjects])}


def _lists(match: Match) -> tuple[list[str], list[str]]:
    return sorted(match.tags), sorted(match.types)


def _columns(places: set[Place]) -> tuple[list[int], list[int]]:
    return [stream for stream, _ in places], [version for _, version in places]
