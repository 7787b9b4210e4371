"""Event sourcing in memory: facts, snapshots, tags and keys."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from finality.adapters.checks import check_count, check_facts
from finality.adapters.memory.database import Event, MemoryDatabase
from finality.adapters.memory.rows import recorded_of
from finality.core.ids import START, Cursor, StreamName, Version
from finality.core.protocol import Recorded
from finality.core.sourcing import Fact, Query, Snapshot, is_fact, split_type
from finality.ports.codec import Codec
from finality.ports.journal import PAGE_EVENTS_MAX, Page
from finality.ports.sources import SOURCES_MAX, Source

if TYPE_CHECKING:
    from finality.adapters.memory.home_transaction import MemoryHomeTransaction


class MemorySources:
    """Fulfils ``ports.sources.Sources``."""

    def __init__(self, tx: MemoryHomeTransaction, database: MemoryDatabase, codec: Codec) -> None:
        self._tx = tx
        self._database = database
        self._codec = codec

    def find(self, stream: StreamName) -> Source | None:
        """Return a stream, as this transaction sees it."""
        database = self._database
        key = database.keys.get(stream)
        if key is None:
            return None
        version, is_archived = database.versions.get(key) or 0, database.archived.get(key)
        return Source(key, stream, Version(version), bool(is_archived), database.snapshots.get(key))

    def read(
        self, source: Source, *, after: Version = Version(0), limit: int = PAGE_EVENTS_MAX
    ) -> list[Recorded]:
        """Return its next events behind *after*."""
        return self._tx.read(source.key, after=after)[: min(limit, source.version - after)]

    def record(
        self, stream: StreamName, facts: Sequence[Fact], *, expected: Version, key: int | None = None
    ) -> int:
        """Append *facts*; return the stream's key."""
        check_facts(facts)
        key = self._tx.begun(stream, expected)
        self._tx.insert(key, stream, expected, facts)
        return key

    def matching(self, query: Query) -> list[Recorded]:
        """Return every event that matches."""
        database = self._database
        found = [*_committed(database, query), *(e for e in database.new_events if _has(query, e))]
        return [recorded_of(event, self._codec) for event in found]

    def token(self) -> Cursor:
        """Return a cursor behind what this transaction has recorded."""
        return Cursor(str(len(self._database.events) + len(self._database.new_events)))

    def new_id(self) -> str:
        """Return an id that no other stream has."""
        return self._tx.new_id()

    def hold(self, query: Query, *, expected: int) -> None:
        """See that *expected* events match; nobody else writes before this transaction ends."""
        check_count(query, expected, len(self.matching(query)))

    def archive(self, stream: StreamName) -> None:
        """Leave the stream out of listings."""
        self._database.archived.put(self._key(stream), True)

    def keep_snapshot(self, stream: StreamName, snapshot: Snapshot) -> None:
        """Keep a snapshot."""
        self._database.snapshots.put(self._key(stream), snapshot)

    def _key(self, stream: StreamName) -> int:
        key = self._database.keys.get(stream)
        assert key is not None, f"stream {stream} has begun"
        return key

    def subject_keys(self, subjects: Collection[str]) -> dict[str, bytes | None]:
        """Return the sealed keys of data subjects."""
        return _keys(self._database.subjects.get, subjects)

    def keep_subject_key(self, subject: str, sealed: bytes) -> None:
        """Keep the sealed key of a new data subject."""
        if self._database.subjects.get(subject) is None:
            self._database.subjects.put(subject, (sealed,))

    def forget(self, subject: str) -> None:
        """Delete the key of a data subject."""
        self._database.subjects.put(subject, (None,))


class MemoryCommittedSources:
    """Fulfils ``ports.sources.CommittedSources``."""

    def __init__(self, database: Callable[[], MemoryDatabase], codec: Codec) -> None:
        self._open = database
        self._codec = codec

    async def find(self, stream: StreamName) -> Source | None:
        """Return a stream."""
        database = self._open()
        with database.lock:
            return _source(database, stream)

    async def read(
        self, source: Source, *, after: Version = Version(0), limit: int = PAGE_EVENTS_MAX
    ) -> list[Recorded]:
        """Return its next events behind *after*."""
        database = self._open()
        with database.lock:
            events = database.streams.get(source.key, [])[after : min(after + limit, source.version)]
        return [recorded_of(event, self._codec) for event in events]

    async def listed(
        self, prefix: str, *, after: str = "", with_archived: bool = False, limit: int = SOURCES_MAX
    ) -> list[Source]:
        """Return the streams whose names begin with *prefix*."""
        database = self._open()
        with database.lock:
            names = sorted(n for n in database.keys.committed if n.startswith(prefix) and n > after)
            found = [source for name in names if (source := _source(database, name)) is not None]
        return [source for source in found if with_archived or not source.is_archived][:limit]

    async def matching(self, query: Query) -> list[Recorded]:
        """Return every event that matches."""
        database = self._open()
        with database.lock:
            found = _committed(database, query)
        return [recorded_of(event, self._codec) for event in found]

    async def facts(
        self, *, after: Cursor = START, until: Cursor | None = None, limit: int = PAGE_EVENTS_MAX
    ) -> Page:
        """Return facts of all streams."""
        database, first = self._open(), int(after or 0)
        with database.lock:
            end = len(database.events) if until is None else int(until or 0)
            found = (event for event in database.events[first:end] if is_fact(event.type_name))
            events = [recorded_of(event, self._codec) for event in islice(found, limit)]
        return Page(events, Cursor(str(events[-1].position if len(events) == limit else max(first, end))))

    async def subject_keys(self, subjects: Collection[str]) -> dict[str, bytes | None]:
        """Return the sealed keys of data subjects."""
        return _keys(self._open().subjects.committed.get, subjects)


def _source(database: MemoryDatabase, name: StreamName) -> Source | None:
    key = database.keys.committed.get(name)
    if key is None:
        return None
    version, is_archived = len(database.streams[key]), key in database.archived.committed
    return Source(key, name, Version(version), is_archived, database.snapshots.committed.get(key))


def _committed(database: MemoryDatabase, query: Query) -> list[Event]:
    found = {e.position: e for tag in query.tags for e in database.tagged.get(tag, ()) if _has(query, e)}
    return [event for _, event in sorted(found.items())]


def _has(query: Query, event: Event) -> bool:
    return bool(event.tags) and query.has(split_type(event.type_name)[0], event.tags)


def _keys(
    get: Callable[[str], tuple[bytes | None] | None], subjects: Iterable[str]
) -> dict[str, bytes | None]:
    return {subject: kept[0] for subject in subjects if (kept := get(subject)) is not None}
