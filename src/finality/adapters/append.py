"""The turn of a plain append to the journal."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from finality.adapters.scope import answer
from finality.core.ids import StreamName, Version
from finality.ports.home import HomeTransaction


class Append:
    """Fulfils ``ports.store.Turn``; whoever asked awaits ``done``."""

    def __init__(self, stream: StreamName, events: Sequence[Any], expected: Version) -> None:
        assert events, f"an append to {stream} has at least one event"
        self.name = f"append to {stream}"
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stream, self._events, self._expected = stream, events, expected

    def run(self, tx: HomeTransaction) -> None:
        """Append."""
        tx.append_to(self._stream, self._events, expected=self._expected)

    def forget(self) -> None:
        """Nothing in memory has changed."""

    def settle(self, error: BaseException | None) -> None:
        """Answer the caller."""
        answer(self.done, error)
