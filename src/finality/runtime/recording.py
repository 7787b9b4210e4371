"""Records what branches have answered, in the commits that decisions make anyway.

```
    decision of a ──▶ a's branches finish ──▶ decision of b, with the record of a ──▶ …
                                                └──── one commit, one flush ────┘
```

Nobody waits for a record: without it a sweep would ask the branches again, and they would answer
the same. So it waits for the next decision, or a little while if there is none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from finality.core.errors import FinalityError
from finality.core.ids import TransactionId
from finality.core.two_phase import Finish
from finality.runtime.decisions import Answers, Decisions, Known
from finality.runtime.finishing import Finisher

log = logging.getLogger("finality.two_phase")

RECORD_SECONDS = 0.05  # Some transactions' time; a crash meanwhile only lets a sweep ask again.
GATHER_SECONDS = 0.01  # A turn of the store for each decision would cost more than what it writes.


class Recording:
    """What one node has heard from branches, and has not recorded yet."""

    def __init__(self, decisions: Decisions, finisher: Finisher) -> None:
        self._decisions = decisions
        self._finisher = finisher
        self._waiting: list[Answers] = []
        self._unrecorded: set[TransactionId] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._submitted_at = 0.0
        self._under_way: set[asyncio.Task[None]] = set()

    def __contains__(self, id: TransactionId) -> bool:
        return id in self._unrecorded

    def later(self, known: Known, heard: Sequence[Finish]) -> None:
        """Record it with one of the next decisions, or soon."""
        self._waiting.append((known, heard))
        self._unrecorded.add(known.id)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(RECORD_SECONDS, self.now)

    def with_decision(self) -> None:
        """Submit what has been heard to the commit of a decision, unless some was submitted just now."""
        if self._waiting and asyncio.get_running_loop().time() - self._submitted_at >= GATHER_SECONDS:
            self.now()

    def now(self) -> None:
        """Submit what has been heard."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._waiting:
            return
        answers, self._waiting = self._waiting, []
        self._submitted_at = asyncio.get_running_loop().time()
        task = asyncio.ensure_future(self._record(answers, self._decisions.record(answers)))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _record(self, answers: Sequence[Answers], recorded: asyncio.Future[None]) -> None:
        try:
            await self._record_singly_if_need_be(answers, recorded)
        except Exception:  # A sweep asks the branches again.
            log.exception("what became of %d transactions could not be recorded", len(answers))
        finally:
            self._unrecorded.difference_update(known.id for known, _ in answers)

    async def _record_singly_if_need_be(
        self, answers: Sequence[Answers], recorded: asyncio.Future[None]
    ) -> None:
        try:
            await recorded
        except FinalityError:  # Another node has recorded one of them, so each is looked at.
            await asyncio.gather(*(self._finisher.record(*each) for each in answers))

    async def drain(self) -> None:
        """Wait until everything is recorded."""
        self.now()
        await asyncio.gather(*self._under_way)
