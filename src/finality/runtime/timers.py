"""Timers: brings sagas back when their time has come, or when somebody has told them something.

The times are in the journal's heads, not in memory, so that a saga may sleep for months and
a hundred thousand of them cost nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any

from finality.core.errors import FinalityError
from finality.ports.home import HomeTransaction
from finality.runtime.asked import Asked
from finality.runtime.context import Context
from finality.runtime.lookout import Lookout

log = logging.getLogger("finality.timers")

LOOK_SECONDS = 0.05  # How soon another process's word is heard where the store is not told of it.
CLOCK_SECONDS = 0.25  # How soon it is noticed that the clock was set, or the machine has slept.
CLAIM_MAX = 5_000  # Claimed in one turn; the turn stays well under its time limit.


class ClaimTurn(Asked[list[tuple[int, str]]]):
    """Takes what is due in hand."""

    def __init__(self, context: Context) -> None:
        super().__init__("claim of what is due", answer=[])
        self._context = context

    def run(self, tx: HomeTransaction) -> None:
        """Claim."""
        now = self._context.environment.now()
        self.answer = tx.claim_due(self._context.node, now, limit=CLAIM_MAX)
        # Whoever has one of them in hand and is about to let it rest has to look first.
        self._context.called.update(key for key, _ in self.answer)


class Timers:
    """The loop that brings sagas back."""

    def __init__(
        self,
        context: Context,
        admit: Callable[[list[tuple[int, str]]], None],
        look: Callable[[], Awaitable[None]],
        *,
        is_observer: bool = False,
    ) -> None:
        self._context = context
        self._admit = admit
        self._look = look
        self._is_observer = is_observer
        self._next_wake: float | None = 0.0
        self._kicked = asyncio.Event()
        self._lookout = Lookout(context.home, self._kicked, LOOK_SECONDS)
        self._rests_until = inf  # Before it rests, it hears of everything.

    def kick(self, *_: Any) -> None:
        """Look at once."""
        self._next_wake = 0.0
        self._kicked.set()

    def sleeps(self, wake_at: float | None) -> None:
        """Hear when a saga that was just let go of wakes."""
        if wake_at is not None and (self._next_wake is None or wake_at < self._next_wake):
            self._next_wake = wake_at
            if wake_at < self._rests_until:
                self._kicked.set()  # The loop would sleep past it.

    async def run(self) -> None:
        """Look for what is due until cancelled; no trouble ends it, since nobody else would look."""
        while True:
            try:
                await self._look_once()
            except FinalityError as error:
                log.warning("what is due could not be looked up: %s", error)
                self._kicked.clear()
            except Exception:
                log.exception("what is due could not be looked up")
                self._kicked.clear()
            if self._is_due and self._kicked.is_set():
                self._kicked.clear()
                await asyncio.sleep(0)
                continue
            self._kicked.clear()
            await self._rest()

    async def _rest(self) -> None:
        now, due_in = self._context.environment.now(), inf
        if not self._is_observer and self._next_wake is not None:
            due_in = min(self._next_wake - now, CLOCK_SECONDS)
            if due_in <= 0:
                due_in = LOOK_SECONDS  # The claim has failed.
        self._rests_until = now + min(due_in, self._lookout.pause_seconds)
        await self._lookout.rest(due_in)
        self._rests_until = inf

    @property
    def _is_due(self) -> bool:
        return (
            not self._is_observer
            and self._next_wake is not None
            and self._next_wake <= self._context.environment.now()
        )

    async def _look_once(self) -> None:
        if await self._lookout.look():
            await self._read_next_wake()
            await self._look()
        if self._is_due:
            await self._claim()
            if self._is_due:
                self._kicked.set()  # There is more than one turn claims.

    async def _claim(self) -> None:
        turn = ClaimTurn(self._context)
        self._context.home.submit(turn)
        due = await turn.done
        if due:  # First of all: they are in hand now, so nobody would ever claim them again.
            self._admit(due)
        await self._read_next_wake()

    async def _read_next_wake(self) -> None:
        """Read when to wake; what is heard while the store answers may be newer than its answer."""
        self._next_wake = None
        try:
            found = await self._context.home.next_wake(self._context.node)
        except BaseException:
            self._next_wake = 0.0  # Nobody knows, so the next look claims what there is.
            raise
        self.sleeps(found)
