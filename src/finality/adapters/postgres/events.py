"""Events in a PostgreSQL store: the outbox, how far readers have come, and what is parked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from finality.adapters.event_statements import EventStatements
from finality.adapters.postgres.cursor import Place, place_of
from finality.adapters.postgres.queries import QUERIES
from finality.core.ids import Cursor
from finality.ports.events import (
    OUTBOX_EVENTS_MAX,
    PARKED_MAX,
    OutboxPage,
    Parked,
    Progress,
)


class PostgresEventTransaction(EventStatements):
    """Fulfils ``ports.events.EventTransaction``; a part of the store's transaction."""

    def prune_outbox(self, share: int, *, before: float, behind: Cursor, limit: int) -> int:
        """Forget what is old of the oldest events that *behind* has passed."""
        place = place_of(behind, behind.partition("/")[0])
        return len(self._send("prune_outbox", share, place.seen, place.position, limit, before))


class PostgresEventReads(ABC):
    """Fulfils ``ports.events.EventReads``; a part of the store."""

    @abstractmethod
    async def _rows(self, sql: str, *parameters: Any) -> Sequence[Any]:
        """Return what is committed."""

    @abstractmethod
    async def _placed(self, after: Cursor) -> Place:
        """Return where a cursor is, in the snapshot that it is read by."""

    async def outbox(self, share: int, *, after: Cursor, limit: int = OUTBOX_EVENTS_MAX) -> OutboxPage:
        """Return what a snapshot shows of a share and an earlier one did not."""
        place = await self._placed(after)
        query, *where = place.asked("outbox", limit)
        rows = await self._rows(QUERIES[query], *where, share)
        return OutboxPage([tuple(row) for row in rows], place.behind([row[0] for row in rows], limit))

    async def outbox_since(self, at: float) -> Cursor:
        """Return a cursor behind which are all events that were published then or later."""
        return Cursor(str((await self._rows(QUERIES["outbox_since"], at))[0][0]))

    async def progress(self, reader: str | None = None) -> list[Progress]:
        """Return how far readers have come."""
        return [Progress(*row) for row in await self._rows(QUERIES["progress"], reader)]

    async def parked_events(
        self,
        *,
        reader: str | None = None,
        topic: str | None = None,
        after: int = 0,
        limit: int = PARKED_MAX,
    ) -> list[Parked]:
        """Return parked events by place."""
        rows = await self._rows(QUERIES["parked_events"], reader, topic, after, limit)
        return [Parked(*row) for row in rows]

    async def next_release(self) -> float | None:
        """Return when the next delayed event is due."""
        due: float | None = (await self._rows(QUERIES["next_release"]))[0][0]
        return due

    async def next_retry(self, reader: str) -> float | None:
        """Return when the next parked event of a reader is tried again."""
        due: float | None = (await self._rows(QUERIES["next_retry"], reader))[0][0]
        return due
