"""The journal: streams of events, append-only, in one total order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from finality.core.ids import START, Cursor, Position, StreamName, Version
from finality.core.protocol import Recorded

EVENT_BYTES_MAX = 1 << 20  # 1 MiB: a page of results, not a file; larger things go by reference.
PAGE_EVENTS_MAX = 1_000  # About a megabyte of usual events held in memory for a reader.


@dataclass(frozen=True, slots=True)
class Page:
    """Some events of all streams, oldest first, and where the next page begins."""

    events: list[Recorded]
    cursor: Cursor


class Journal(Protocol):
    """Every promise here is proved by one suite for all adapters, in ``tests/conformance``."""

    async def append(self, stream: StreamName, events: Sequence[Any], *, expected: Version) -> Version:
        """Append *events* to *stream*, all or none; durable on return.

        Args:
            events: At least one, oldest first.
            expected: The version the caller decided on, 0 for a new stream. It guards
                against two coordinators driving one transaction.

        Returns:
            The stream's new version: ``expected + len(events)``.

        Raises:
            VersionConflict: *stream* is not at *expected*; other streams are not hurt.
            LimitExceeded: An event is larger than ``EVENT_BYTES_MAX``; nothing was written.
            Unavailable: The store is out of reach; nothing was written.
        """
        ...

    async def read(
        self, stream: StreamName, *, after: Version = Version(0), limit: int = PAGE_EVENTS_MAX
    ) -> list[Recorded]:
        """Return the events of *stream* behind version *after*, oldest first; empty if none."""
        ...

    async def page(self, *, after: Cursor = START, limit: int = PAGE_EVENTS_MAX) -> Page:
        """Return events of all streams behind *after*; none if there is nothing new.

        Whoever goes on with each page's cursor gets every event once, and those of a stream in
        order. A transaction that commits late is never skipped, and holds up nobody. Where
        positions are given in commit order, as in SQLite, events come in that order.
        """
        ...

    async def newest(self, *, before: Position | None = None, limit: int = PAGE_EVENTS_MAX) -> Page:
        """Return the last events before a position, oldest first; without one, the last there are.

        The cursor is behind all that is committed now.
        """
        ...

    def follow(self, *, after: Cursor = START) -> AsyncIterator[Recorded]:
        """Yield every event behind *after* once, and then each new one; in the order of the pages."""
        ...
