"""The journal: streams of events, append-only, in one total order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from finality.core.ids import Position, StreamName, Version
from finality.core.protocol import Recorded

EVENT_BYTES_MAX = 1 << 20  # 1 MiB: a page of results, not a file; larger things go by reference.
PAGE_EVENTS_MAX = 1_000  # About a megabyte of usual events held in memory for a reader.


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

    async def page(self, *, after: Position = Position(0), limit: int = PAGE_EVENTS_MAX) -> list[Recorded]:
        """Return events of all streams behind *after*, in commit order; empty if none yet.

        No event ever appears at or before a position that was returned already: a late
        committer is never skipped.
        """
        ...

    def follow(self, *, after: Position = Position(0)) -> AsyncIterator[Recorded]:
        """Yield every event behind *after* once, in commit order, and then each new one."""
        ...
