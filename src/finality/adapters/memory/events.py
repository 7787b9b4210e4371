"""Events in a store in memory: the outbox, how far readers have come, and what is parked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from operator import attrgetter

from finality.adapters.memory.database import MemoryDatabase
from finality.core.errors import Fenced
from finality.core.ids import Cursor, NodeId
from finality.core.placement import partition_of
from finality.ports.environment import Environment
from finality.ports.events import (
    OUTBOX_EVENTS_MAX,
    PARKED_MAX,
    SHARES,
    OutboxEvent,
    OutboxPage,
    Parked,
    Progress,
    Published,
)


class MemoryEventTransaction(ABC):
    """Fulfils ``ports.events.EventTransaction``; a part of the store's transaction."""

    at: float
    has_published = False
    _database: MemoryDatabase
    _environment: Environment

    @abstractmethod
    def _check(self) -> None:
        """See that the turn can go on."""

    def publish(self, event: Published, *, due_at: float | None = None) -> None:
        """Put an event into the outbox, or keep it until it is due."""
        self._check()
        if due_at is not None:
            self._database.delayed.put(self._database.next_number(), (due_at, event))
            return
        id = f"{self._environment.random_bits(128):032x}"
        share = partition_of(f"{event.topic}/{event.key}", SHARES)
        row = OutboxEvent(self._database.next_number(), id, *event, self.at)
        self._database.new_outbox.append((share, row))
        self.has_published = True

    def release_due(self, limit: int) -> int:
        """Put delayed events whose time has come into the outbox."""
        due = sorted((at, number) for number, (at, _) in self._database.delayed.rows() if at <= self.at)
        for _, number in due[:limit]:
            found = self._database.delayed.get(number)
            assert found is not None, f"delayed event {number} was there a moment ago"
            self.publish(found[1])
            self._database.delayed.put(number, None)
        return len(due[:limit])

    def prune_outbox(self, share: int, *, before: float, behind: Cursor, limit: int) -> int:
        """Forget what is old of the oldest events that *behind* has passed."""
        self._check()
        rows, pruned = self._database.outbox[share], self._database.pruned
        passed = rows[: bisect_right(rows, int(behind or 0), key=attrgetter("position"))]
        oldest = [row for row in passed if not pruned.get(row.position)][:limit]
        old = [row.position for row in oldest if row.at < before]
        for position in old:
            pruned.put(position, True)
        return len(old)

    def claim(self, reader: str, share: int, *, node: NodeId, until: float) -> Progress | None:
        """Take or renew the lease of a share."""
        self._check()
        found = self._database.readers.get((reader, share))
        if found is None:
            found = Progress(reader, share, 0, Cursor(""), None, 0.0, self.at)
        elif found.node not in (None, node) and found.lease_until > self.at:
            return None
        taken = found._replace(epoch=found.epoch + (found.node != node), node=node, lease_until=until)
        self._database.readers.put((reader, share), taken)
        return taken

    def progress_of(self, reader: str, share: int) -> Progress | None:
        """Return how far a share is."""
        return self._database.readers.get((reader, share))

    def advance(self, progress: Progress, cursor: Cursor) -> None:
        """Move a share's cursor."""
        self._check()
        found = self._database.readers.get(progress[:2])
        if found is None or found.epoch != progress.epoch:
            raise Fenced(
                f"share {progress.share} of reader {progress.reader} is not this node's any more: another "
                "one holds it, or it was rewound; it goes on there"
            )
        self._database.readers.put(progress[:2], found._replace(cursor=cursor, updated_at=self.at))

    def give_back(self, progress: Progress) -> None:
        """End the lease of a share."""
        self._check()
        found = self._database.readers.get(progress[:2])
        if found is not None and found.epoch == progress.epoch:
            self._database.readers.put(progress[:2], found._replace(node=None, lease_until=0.0))

    def rewind(self, reader: str, share: int, cursor: Cursor) -> None:
        """Set a share's cursor, whoever reads it."""
        self._check()
        found = self._database.readers.get((reader, share))
        epoch = found.epoch + 1 if found else 1
        row = Progress(reader, share, epoch, cursor, None, 0.0, self.at)
        self._database.readers.put((reader, share), row)

    def park(self, parked: Parked) -> None:
        """Put an event aside."""
        self._check()
        place = self._database.next_number()
        self._database.parked.put(place, parked._replace(place=place))

    def parked(self, reader: str, topic: str, key: str, *, limit: int = 1) -> list[Parked]:
        """Return the first parked events of a key."""
        rows = (row for _, row in self._database.parked.rows() if row[1:4] == (reader, topic, key))
        return sorted(rows)[:limit]

    def parked_at(self, place: int) -> Parked | None:
        """Return a parked event."""
        return self._database.parked.get(place)

    def repark(self, place: int, *, because: str, attempts: int, retry_at: float | None) -> None:
        """Say anew why an event is parked and when it is tried again."""
        self._check()
        found = self._database.parked.get(place)
        if found is not None:
            row = found._replace(because=because, attempts=attempts, retry_at=retry_at)
            self._database.parked.put(place, row)

    def unpark(self, place: int) -> None:
        """Take an event out."""
        self._check()
        self._database.parked.put(place, None)

    def forget_witnesses(self, operation: str, *, before: float, limit: int) -> int:
        """Forget testimonies of an operation that are older than a time."""
        self._check()
        rows = list(self._database.witness.rows())
        old = [key for key, (_, at) in rows if key[2] == operation and at < before][:limit]
        for key in old:
            self._database.witness.put(key, None)
        return len(old)


class MemoryEventReads(ABC):
    """Fulfils ``ports.events.EventReads``; a part of the store."""

    @abstractmethod
    def _open_database(self) -> MemoryDatabase:
        """Return the database, or say that it is closed."""

    async def outbox(self, share: int, *, after: Cursor, limit: int = OUTBOX_EVENTS_MAX) -> OutboxPage:
        """Return the events of a share behind a position: they are given in commit order."""
        rows = self._open_database().outbox[share]
        begin = bisect_right(rows, int(after or 0), key=attrgetter("position"))
        events = rows[begin : begin + limit]
        return OutboxPage(events, Cursor(str(events[-1].position)) if events else after)

    async def outbox_since(self, at: float) -> Cursor:
        """Return a cursor behind which are all events that were published then or later."""
        rows = [row for rows in self._open_database().outbox.values() for row in rows]
        later = [row.position - 1 for row in rows if row.at >= at]
        return Cursor(str(min(later, default=max((row.position for row in rows), default=0))))

    async def progress(self, reader: str | None = None) -> list[Progress]:
        """Return how far readers have come."""
        rows = self._open_database().readers.committed.values()
        return sorted(row for row in rows if reader in (None, row.reader))

    async def parked_events(
        self,
        *,
        reader: str | None = None,
        topic: str | None = None,
        after: int = 0,
        limit: int = PARKED_MAX,
    ) -> list[Parked]:
        """Return parked events by place."""
        rows = self._open_database().parked.committed.values()
        wanted = (
            row
            for row in rows
            if reader in (None, row.reader) and topic in (None, row.topic) and row.place > after
        )
        return sorted(wanted)[:limit]

    async def next_release(self) -> float | None:
        """Return when the next delayed event is due."""
        return min((at for at, _ in self._open_database().delayed.committed.values()), default=None)

    async def next_retry(self, reader: str) -> float | None:
        """Return when the next parked event of a reader is tried again."""
        rows = self._open_database().parked.committed.values()
        times = (row.retry_at for row in rows if row.reader == reader and row.retry_at is not None)
        return min(times, default=None)
