"""What every store has of its writer, and every home of its journal's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from finality.adapters.append import Append
from finality.adapters.group_commit import Writer
from finality.adapters.scope import WriterScope
from finality.core.ids import StreamName, Version


class WrittenStore:
    """Fulfils the part of ``ports.store.Store`` that is its writer's."""

    def _write_with(self, writer: Writer) -> None:
        self._writer = writer
        self.submit = writer.put

    @property
    def slowest(self) -> tuple[str, float]:
        """Return who held the write turn longest, and for how many seconds."""
        return self._writer.batches.slowest

    def on_publish(self, told: Callable[[], None]) -> None:
        """Call *told* after each commit of this process that has put an event into the outbox."""
        self._writer.batches.on_publish = told

    def scope(self, name: str) -> WriterScope:
        """Return a transaction for ``async`` code."""
        return self._writer.scope(name)


class WrittenHome(WrittenStore):
    """Fulfils ``append`` of ``ports.journal.Journal``."""

    async def append(self, stream: StreamName, events: Sequence[Any], *, expected: Version) -> Version:
        """Append *events* to *stream*, all or none; as durable on return as the store is."""
        turn = Append(stream, events, expected)
        self.submit(turn)
        await turn.done
        return Version(expected + len(events))
