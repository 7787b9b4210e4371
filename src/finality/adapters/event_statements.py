"""What a turn does with events in a database, by the names of its statements: SQLite and PostgreSQL alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from finality.core.errors import Fenced
from finality.core.ids import Cursor, NodeId
from finality.core.placement import partition_of
from finality.ports.environment import Environment
from finality.ports.events import SHARES, Parked, Progress, Published


class EventStatements(ABC):
    """Fulfils ``ports.events.EventTransaction`` but for ``prune_outbox``; a part of a store's transaction."""

    at: float
    has_published = False
    _environment: Environment

    @abstractmethod
    def _send(self, query: str, *parameters: Any) -> Sequence[Any]:
        """Run a statement of ours that writes, so that it can be undone with the turn."""

    @abstractmethod
    def _ask(self, query: str, *parameters: Any) -> Sequence[Any]:
        """Run a statement of ours that reads."""

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
        """Put delayed events whose time has come into the outbox; others may release others meanwhile."""
        due = self._send("due_events", self.at, limit)
        for delayed, *event in due:
            self.publish(Published(*event))
            self._send("released", delayed)
        return len(due)

    def claim(self, reader: str, share: int, *, node: NodeId, until: float) -> Progress | None:
        """Take or renew the lease of a share."""
        rows = self._send("claim", reader, share, node, until, self.at)
        return Progress(*rows[0]) if rows else None

    def progress_of(self, reader: str, share: int) -> Progress | None:
        """Return how far a share is."""
        rows = self._send("progress_of", reader, share)
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
        return [Parked(*row) for row in self._ask("parked_key", reader, topic, key, limit)]

    def parked_at(self, place: int) -> Parked | None:
        """Return a parked event; whoever asks at the same time waits until this turn has ended."""
        rows = self._send("parked_at", place)
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
