"""Event sourcing on SQLite: facts, snapshots, tags and keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import apsw

from finality.adapters.checks import check_count, check_facts
from finality.adapters.sqlite.queries import QUERIES
from finality.adapters.sqlite.rows import Names, recorded_of, source_of
from finality.core.ids import START, Cursor, StreamName, Version
from finality.core.protocol import Recorded
from finality.core.sourcing import Fact, Match, Query, Snapshot
from finality.ports.codec import Codec
from finality.ports.journal import PAGE_EVENTS_MAX, Page
from finality.ports.sources import SOURCES_MAX, Source

if TYPE_CHECKING:
    from finality.adapters.sqlite.home_transaction import SqliteHomeTransaction


class SqliteSources:
    """Fulfils ``ports.sources.Sources``: whoever has the write turn sees all that there is."""

    def __init__(
        self, tx: SqliteHomeTransaction, connection: apsw.Connection, codec: Codec, names: Names
    ) -> None:
        self._tx = tx
        self._connection = connection
        self._codec = codec
        self._names = names

    def find(self, stream: StreamName) -> Source | None:
        """Return a stream, as this transaction sees it."""
        found = self._tx.ask("source", (stream,))
        return source_of(found[0]) if found else None

    def read(
        self, source: Source, *, after: Version = Version(0), limit: int = PAGE_EVENTS_MAX
    ) -> list[Recorded]:
        """Return its next events behind *after*."""
        rows = self._tx.ask("read", (source.key, after, min(limit, source.version - after)))
        return [recorded_of(row, self._codec, self._names, self._connection) for row in rows]

    def record(
        self, stream: StreamName, facts: Sequence[Fact], *, expected: Version, key: int | None = None
    ) -> int:
        """Append *facts*; return the stream's key."""
        check_facts(facts)
        self._tx.guard()
        key = self._tx.moved(stream, expected, len(facts), key)
        self._tx.insert(key, expected, facts)
        return key

    def matching(self, query: Query) -> list[Recorded]:
        """Return every event that matches."""
        rows = self._tx.ask("events_at", (json.dumps([*places(self._tx.ask, query)]),))
        return [recorded_of(row, self._codec, self._names, self._connection) for row in rows]

    def token(self) -> Cursor:
        """Return a cursor behind what this transaction has recorded: nobody else writes before it ends."""
        return Cursor(str(self._tx.ask("end", ())[0][0] or 0))

    def new_id(self) -> str:
        """Return an id that no other stream has."""
        return self._tx.new_id()

    def hold(self, query: Query, *, expected: int) -> None:
        """See that *expected* events match; nobody else writes before this transaction ends."""
        check_count(query, expected, len(places(self._tx.ask, query)))

    def archive(self, stream: StreamName) -> None:
        """Leave the stream out of listings."""
        self._tx.write("archive", (stream,))

    def keep_snapshot(self, stream: StreamName, snapshot: Snapshot) -> None:
        """Keep a snapshot."""
        self._tx.write(
            "keep_snapshot", (stream, snapshot.version, snapshot.shape, snapshot.data, self._tx.at)
        )

    def subject_keys(self, subjects: Collection[str]) -> dict[str, bytes | None]:
        """Return the sealed keys of data subjects."""
        return dict(self._tx.ask("subject_keys", (json.dumps([*subjects]),)))

    def keep_subject_key(self, subject: str, sealed: bytes) -> None:
        """Keep the sealed key of a new data subject."""
        self._tx.write("keep_subject_key", (subject, sealed, self._tx.at))

    def forget(self, subject: str) -> None:
        """Delete the key of a data subject."""
        self._tx.write("forget", (subject, self._tx.at))


class SqliteCommittedSources:
    """Fulfils ``ports.sources.CommittedSources``."""

    def __init__(
        self,
        rows: Callable[[str, Sequence[Any]], list[Any]],
        recorded: Callable[[str, tuple[Any, ...]], list[Recorded]],
    ) -> None:
        self._rows = rows
        self._recorded = recorded

    def _ask(self, name: str, parameters: tuple[Any, ...]) -> list[Any]:
        return self._rows(QUERIES[name], parameters)

    async def find(self, stream: StreamName) -> Source | None:
        """Return a stream."""
        found = self._ask("source", (stream,))
        return source_of(found[0]) if found else None

    async def read(
        self, source: Source, *, after: Version = Version(0), limit: int = PAGE_EVENTS_MAX
    ) -> list[Recorded]:
        """Return its next events behind *after*."""
        return self._recorded("read", (source.key, after, min(limit, source.version - after)))

    async def listed(
        self, prefix: str, *, after: str = "", with_archived: bool = False, limit: int = SOURCES_MAX
    ) -> list[Source]:
        """Return the streams whose names begin with *prefix*."""
        return [source_of(row) for row in self._ask("listed", (prefix, after, with_archived, limit))]

    async def matching(self, query: Query) -> list[Recorded]:
        """Return every event that matches."""
        return self._recorded("events_at", (json.dumps([*places(self._ask, query)]),))

    async def facts(
        self, *, after: Cursor = START, until: Cursor | None = None, limit: int = PAGE_EVENTS_MAX
    ) -> Page:
        """Return facts of all streams."""
        first = int(after or 0)
        end = int((self._ask("end", ())[0][0] or 0) if until is None else until or 0)
        events = self._recorded("facts", (first, end, limit))
        return Page(events, Cursor(str(events[-1].position if len(events) == limit else max(first, end))))

    async def subject_keys(self, subjects: Collection[str]) -> dict[str, bytes | None]:
        """Return the sealed keys of data subjects."""
        return dict(self._ask("subject_keys", (json.dumps([*subjects]),)))


def places(ask: Callable[[str, tuple[Any, ...]], list[Any]], query: Query) -> set[tuple[int, int]]:
    """Return stream and version of every event that matches."""
    return {(row[0], row[1]) for match in query.matches for row in ask("matching", _lists(match))}


def _lists(match: Match) -> tuple[str, str]:
    return json.dumps(sorted(match.tags)), json.dumps(sorted(match.types))
