"""Events in a SQLite store: the outbox, how far readers have come, and what is parked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from finality.adapters.event_statements import EventStatements
from finality.adapters.sqlite.queries import QUERIES
from finality.core.ids import Cursor
from finality.ports.events import (
    OUTBOX_EVENTS_MAX,
    PARKED_MAX,
    OutboxPage,
    Parked,
    Progress,
)


class SqliteEventTransaction(EventStatements):
    """Fulfils ``ports.events.EventTransaction``; a part of the store's transaction."""

    _sql: Callable[..., Any]

    @abstractmethod
    def _guard(self) -> None:
        """See to it that what follows can be undone with the turn."""

    def _send(self, query: str, *parameters: Any) -> list[Any]:
        self._guard()
        return self._ask(query, *parameters)

    def _ask(self, query: str, *parameters: Any) -> list[Any]:
        rows: list[Any] = self._sql(QUERIES[query], parameters).fetchall()
        return rows

    def prune_outbox(self, share: int, *, before: float, behind: Cursor, limit: int) -> int:
        """Forget what is old of the oldest events that *behind* has passed."""
        return len(self._send("prune_outbox", share, int(behind or 0), limit, before))


class SqliteEventReads(ABC):
    """Fulfils ``ports.events.EventReads``; a part of the store."""

    @abstractmethod
    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Return what is committed."""

    async def outbox(self, share: int, *, after: Cursor, limit: int = OUTBOX_EVENTS_MAX) -> OutboxPage:
        """Return the events of a share behind a position: they are given in commit order."""
        rows = self._rows(QUERIES["outbox"], (share, int(after or 0), limit))
        return OutboxPage(rows, Cursor(str(rows[-1][0])) if rows else after)

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
