"""Holds decisions back for a moment where many transactions are under way, so that they share a commit.

```
    decisions   a  b c   d ──▶ one commit, one flush          a waits for GATHER_SECONDS, d for none
                └ GATHER_SECONDS ┘
```

For each commit the writer's thread takes the interpreter from the event loop again and again, so many
small ones cost both of them more than what is written. Who decides while few others are under way waits
for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from finality.core.ids import TransactionId
from finality.core.two_phase import Decided
from finality.runtime.decisions import DecideTurn, Decisions, Known
from finality.runtime.recording import Recording

GATHER_SECONDS = 0.002  # A tenth of what a transaction takes where so many are under way.
GATHER_MIN = 8  # Fewer gain less by a shared commit than they lose by waiting.


class Gathering:
    """The decisions of one node that wait for others."""

    def __init__(
        self, decisions: Decisions, recording: Recording, under_way: Collection[TransactionId]
    ) -> None:
        self._decisions = decisions
        self._recording = recording
        self._under_way = under_way
        self._held: list[DecideTurn] = []
        self._timer: asyncio.TimerHandle | None = None

    async def decide(self, id: TransactionId, decided: Decided) -> Known:
        """Write the decision with others; return what holds, durable. Raises as ``Decisions.answer``."""
        turn = DecideTurn(id, decided)
        self._held.append(turn)
        if len(self._under_way) < GATHER_MIN or len(self._held) == len(self._under_way):
            self._submit()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._submit)
        return await self._decisions.answer(turn)

    def _submit(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._recording.with_decision()
        held, self._held = self._held, []
        for turn in held:
            self._decisions.submit(turn)
