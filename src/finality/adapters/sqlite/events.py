"""Events in a SQLite store: the outbox, how far readers have come, and what is parked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from finality.adapters.sqlite.queries import QUERIES
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


class SqliteEventTransaction(ABC):
    """Fulfils ``ports.events.EventTransaction``; a part of the store's transaction."""

    at: float
    has_published = False
    _environment: Environment
    _sql: Callable[..., Any]

    @abstractmethod
    def _guard(self) -> None:
        """See to it that what follows can be undone with the turn."""

    def _send(self, query: str, *parameters: Any) -> list[Any]:
        self._guard()
        rows: list[Any] = self._sql(QUERIES[query], parameters).fetchall()
        return rows

    def publish(self, event: Published, *, due_at: float | None = None) -> None:
        """Put an event into the outbox, or keep it until it is due."""
        if due_at is not None:
            self._send("delay", *event, due_at)
            return
        id = f"{self._environment.random_bits(128):032x}"
        share = partition_of(f"{event.topic}/{event.key}", SHARES)
        self._send("publish", id, *event, self.at, share)
        self.has_published = True

    def release_due(self, limit: int) -> int:
        """Put delayed events whose time has come into the outbox."""
        due = self._sql(QUERIES["due_events"], (self.at, limit)).fetchall()
        for delayed, *event in due:
            self.publish(Published(*event))
            self._send("released", delayed)
        return len(due)

    def prune_outbox(self, share: int, *, before: float, behind: Cursor, limit: int) -> int:
        """Forget events that were published before a time and that *behind* has passed."""
        return len(self._send("prune_outbox", share, int(behind or 0), before, limit))

    def claim(self, reader: str, share: int, *, node: NodeId, until: float) -> Progress | None:
        """Take or renew the lease of a share."""
        rows = self._send("claim", reader, share, node, until, self.at)
        return Progress(*rows[0]) if rows else None

    def advance(self, progress: Progress, cursor: Cursor) -> None:
        """Move a share's cursor."""
        where = (progress.reader, progress.share, progress.epoch)
        if not self._send("advance_reader", cursor, self.at, *where):
            raise Fenced(
                f"share {progress.share} of reader {progress.reader} is not this node's any more: another "
                "one holds it, or it was rewound; it goes on there"
            )

    def give_back(self, progress: Progress) -> None:
        """End the lease of a share."""
        self._send("give_back", progress.reader, progress.share, progress.epoch)

    def rewind(self, reader: str, share: int, cursor: Cursor) -> None:
        """Set a share's cursor, whoever reads it."""
        self._send("rewind", reader, share, cursor, self.at)

    def park(self, parked: Parked) -> None:
        """Put an event aside."""
        self._send("park", *parked[1:])

    def parked(self, reader: str, topic: str, key: str, *, limit: int = 1) -> list[Parked]:
        """Return the first parked events of a key."""
        return [
            Parked(*row) for row in self._sql(QUERIES["parked_key"], (reader, topic, key, limit)).fetchall()
        ]

    def parked_at(self, place: int) -> Parked | None:
        """Return a parked event."""
        rows = self._sql(QUERIES["parked_at"], (place,)).fetchall()
        return Parked(*rows[0]) if rows else None

    def repark(self, place: int, *, because: str, attempts: int, retry_at: float | None) -> None:
        """Say anew why an event is parked and when it is tried again."""
        self._send("repark", because, attempts, retry_at, place)

    def unpark(self, place: int) -> None:
        """Take an event out."""
        self._send("unpark", place)

    def forget_witnesses(self, operation: str, *, before: float, limit: int) -> int:
        """Forget testimonies of an operation that are older than a time."""
        return len(self._send("forget_witnesses", operation, before, limit))


class SqliteEventReads(ABC):
    """Fulfils ``ports.events.EventReads``; a part of the store."""

    @abstractmethod
    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Return what is committed."""

    async def outbox(self, share: int, *, after: Cursor, limit: int = OUTBOX_EVENTS_MAX) -> OutboxPage:
        """Return the events of a share behind a position: they are given in commit order."""
        rows = self._rows(QUERIES["outbox"], (share, int(after or 0), limit))
        events = [OutboxEvent(*row) for row in rows]
        return OutboxPage(events, Cursor(str(events[-1].position)) if events else after)

    async def outbox_since(self, at: float) -> Cursor:
        """Return a cursor behind which are all events that were published then or later."""
        return Cursor(str(self._rows(QUERIES["outbox_since"], (at,))[0][0]))

    async def progress(self, reader: str | None = None) -> list[Progress]:
        """Return how far readers have come."""
        return [Progress(*row) for row in self._rows(QUERIES["progress"], (reader,))]

    async def parked_events(
        self,
        *,
        reader: str | None = None,
        topic: str | None = None,
        after: int = 0,
        limit: int = PARKED_MAX,
    ) -> list[Parked]:
        """Return parked events by place."""
        return [Parked(*row) for row in self._rows(QUERIES["parked_events"], (reader, topic, after, limit))]

    async def next_release(self) -> float | None:
        """Return when the next delayed event is due."""
        due: float | None = self._rows(QUERIES["next_release"])[0][0]
        return due

    async def next_retry(self, reader: str) -> float | None:
        """Return when the next parked event of a reader is tried again."""
        due: float | None = self._rows(QUERIES["next_retry"], (reader,))[0][0]
        return due
