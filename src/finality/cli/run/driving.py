"""A run: starts the saga of each line, a window of them at a time, and sees how they end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

from finality.cli.run.checking import ENDED, OPEN
from finality.cli.run.lines import Line, Lines
from finality.cli.run.tally import Left, Tally

if TYPE_CHECKING:
    from finality.node import AsyncNode
    from finality.ports.home import Head

LOOK_SECONDS = 0.5  # How soon it is noticed that a saga sleeps.
LAST_LOOK_SECONDS = 0.1
AWAY_SECONDS_MAX = 30.0  # A server restarts in less; a run that gives up goes on when it is run again.
YIELD_LINES = 100
STATUS_OF = {letter: status for status, letter in ENDED.items()}
FOR_PERSON = frozenset({"stuck", "parked"})


class Driving:
    """One run over the lines of a file.

    Args:
        in_flight: How many sagas of the file are under way at once.
        patience: A saga that sleeps for longer, in seconds, is left open.
        doing: Called with what it does now.
    """

    def __init__(
        self,
        node: AsyncNode,
        lines: Lines,
        tally: Tally,
        *,
        in_flight: int,
        patience: float,
        doing: Callable[[str], None],
    ) -> None:
        self._node = node
        self._lines = lines
        self._tally = tally
        self._patience = patience
        self._doing = doing
        self._slots = asyncio.Semaphore(in_flight)
        self._under_way: set[asyncio.Task[None]] = set()
        self._waits: dict[str, int] = {}
        self._failure: BaseException | None = None

    async def run(self, known: bytearray) -> None:
        """Go through the lines that were checked and return once nothing is left to wait for.

        Args:
            known: What became of each line's saga, as ``check_store`` has found it.

        Raises:
            click.ClickException: A line changed while it ran.
            FinalityError: The store is out of reach.
        """
        self._doing("running")
        try:
            for passed, line in enumerate(self._lines.first(len(known))):
                if passed % YIELD_LINES == 0:
                    await asyncio.sleep(0)
                if isinstance(line, Line):
                    await self._begin(line, known[passed : passed + 1])
            while self._under_way:
                await asyncio.wait(self._under_way)
                self._raise_failure()
            self._doing("taking over")
            await self._while_it_returns(self._wait_for_rest)
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _begin(self, line: Line, known: bytearray) -> None:
        if bytes(known) in STATUS_OF:
            self._tally.end(STATUS_OF[bytes(known)], is_earlier=True)
            return
        if known == OPEN:
            # It is an earlier run's. Its driver may be dead and its lease not, so it gets no slot.
            self._waits[line.id] = line.number
            return
        await self._slots.acquire()
        self._raise_failure()
        task = asyncio.ensure_future(self._while_it_returns(lambda: self._one(line)))
        self._under_way.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._slots.release()
        self._under_way.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failure = self._failure or task.exception()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _while_it_returns(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do *work*, and again when the store was out of reach: a server that restarts comes back."""
        from finality import OutcomeUnknown, Unavailable

        lost_at: float | None = None
        while True:
            begun_at = time.monotonic()
            try:
                return await work()
            except (OutcomeUnknown, Unavailable):
                now = time.monotonic()
                if lost_at is None or now > begun_at + AWAY_SECONDS_MAX:
                    lost_at = now  # It was there meanwhile, since that lasted.
                if now > lost_at + AWAY_SECONDS_MAX:
                    raise
            await asyncio.sleep(LOOK_SECONDS)

    async def _one(self, line: Line) -> None:
        from finality import FinalityError, InputMismatch, Stuck

        try:
            handle = await self._node.start(line.saga, id=line.id)
        except InputMismatch as error:
            raise click.ClickException(f"{self._lines.path}, line {line.number}: {error}") from None
        outcome = asyncio.ensure_future(handle.outcome())
        try:
            while not outcome.done():
                await asyncio.wait({outcome}, timeout=LOOK_SECONDS)
                if not outcome.done() and await self._sleeps(line.id):
                    self._waits[line.id] = line.number
                    return
            ended = outcome.result()
            self._tally.end(ended.status.value, ended.because)
        except Stuck:
            await self._see_by_head(line)
        except FinalityError:
            raise
        except ValueError:  # The result cannot be read by this code any more; how it ended can.
            await self._see_by_head(line)
        finally:
            outcome.cancel()

    async def _sleeps(self, id: str) -> bool:
        head = await self._look_up(id)
        return head is not None and self._is_asleep(head)

    def _is_asleep(self, head: Head) -> bool:
        return head.wake_at is not None and head.wake_at > time.time() + self._patience

    async def _see_by_head(self, line: Line) -> None:
        head = await self._look_up(line.id)
        assert head is not None, f"saga {line.id} was started"
        self._see(head, line.number)

    def _see(self, head: Head, number: int) -> None:
        """Count a saga that has ended; look again at the end at one that has not."""
        if head.has_ended:
            self._tally.end(head.status)
        else:
            self._waits[head.id] = number

    # ── What is left when every line has been started ───────────────────────────────────────

    async def _wait_for_rest(self) -> None:
        """Wait for what an earlier run left open, and say of the others why they rest."""
        while self._waits:
            resting: dict[str, Head] = {}
            live = await self._live_drives()
            for id in list(self._waits):
                head = await self._look_up(id)
                assert head is not None, f"saga {id} was started"
                if head.has_ended:
                    del self._waits[id]
                    self._tally.end(head.status)
                elif head.status in FOR_PERSON or self._is_asleep(head) or not self._is_driven(head, live):
                    resting[id] = head
            if len(resting) == len(self._waits):
                for id, head in resting.items():
                    await self._leave(head, self._waits.pop(id), live)
                return
            await asyncio.sleep(LAST_LOOK_SECONDS)

    async def _live_drives(self) -> frozenset[str]:
        now = time.time()
        rows = await self._node.nodes()
        return frozenset[str]().union(*(row.drives for row in rows if row.lease_until > now))

    def _is_driven(self, head: Head, live: frozenset[str]) -> bool:
        return f"{head.kind}@{head.definition}" in live and not head.note

    async def _leave(self, head: Head, number: int, live: frozenset[str]) -> None:
        from finality.node import looking

        if head.status in FOR_PERSON:
            because = await looking.trouble(self._node, head)
        elif not self._is_driven(head, live):
            because = (
                head.note or f"no live node can drive {head.kind}@{head.definition}: its code has changed"
            )
        else:
            because = await looking.waits_for(self._node, head)
        self._tally.leave(Left(head.id, number, head.status, because))

    async def _look_up(self, id: str) -> Head | None:
        from finality.node import looking

        return await looking.look_up(self._node, id)
