"""The reader: the one loop of all that follow events; relay, reactions and projections say what they do.

```
   lease of a share ──▶ ┌─▶ step: read a batch, act, advance the cursor ──▶ more? ─┐
                        │        │ fails                                     │ no  │ yes
                        │   backoff, said in health                     wait: kick │ or time
                        └────────┴────────────────────────────────────────┴────────┘
```

Each share has a task of its own and one batch in hand. A share whose epoch has moved on is ``Fenced``:
the reader drops it and looks what is still its own. So it does with one of which nobody knows how far it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from finality.core.backoff import Retry
from finality.core.errors import Fenced, FinalityError, OutcomeUnknown
from finality.ports.events import Progress
from finality.ports.store import Store
from finality.runtime.context import Context
from finality.runtime.leases import LEASE_SECONDS
from finality.runtime.shares import ADVERTISED, Shares

log = logging.getLogger("finality.readers")

LET_GO_SECONDS = 3.0  # For the batch in hand, when a share is given back; less than half a lease.
IDLE_SECONDS = 5.0  # A kick may be lost with the process that was to give it.
LAPSED_SECONDS = 0.05  # Until it is looked whether a lapsed lease has been renewed.
WAIT_SECONDS_MIN = 0.001
TROUBLE = Retry(attempts=None, first_seconds=0.05, cap_seconds=5.0)


class Work(Protocol):
    """What a reader does with one share, as long as this node holds it."""

    async def step(self) -> float | None:
        """Do the next batch, and advance the cursor in the commit of its effect.

        Returns:
            0 when there may be more at once; else when to come again without a kick, in seconds since
            the Unix epoch, or None: there is nothing to come for.

        Raises:
            Fenced: The share has another holder, or was rewound.
            OutcomeUnknown: The cursor may have advanced; the share is begun with anew, from where it is.
            Exception: It is tried again, after a wait that grows.
        """
        ...

    async def close(self) -> None:
        """Let go of what is in hand."""
        ...


@dataclass(slots=True, eq=False)
class Reading:
    """The task that reads a share, and what it is told."""

    news: asyncio.Event = field(default_factory=asyncio.Event)
    is_leaving: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Reader:
    """The shares of one reader in one store, and a task for each that this node holds.

    Attributes:
        trouble: By share, why it does not come forward at the moment.
    """

    def __init__(
        self,
        context: Context,
        store: Store,
        name: str,
        shares: int,
        begin: Callable[[Progress], Work],
        *,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self.name = name
        self.store = store
        self.trouble: dict[int, str] = {}
        self.shares = Shares(context, store, name, shares, self, seconds=lease_seconds)
        self._environment = context.environment
        self._begin = begin
        self._reads: dict[int, Reading] = {}

    @property
    def advertised(self) -> str:
        """Return what a node says among what it drives, so that others leave it its part."""
        return f"{ADVERTISED}{self.name}"

    def kick(self) -> None:
        """Hear that there is something new; on the event loop, costs little."""
        for read in self._reads.values():
            read.news.set()

    async def run(self) -> None:
        """Read until cancelled."""
        await self.shares.run()

    async def close(self) -> None:
        """Let the batches in hand end, and give the shares back; the loop has been cancelled."""
        await self.shares.leave()

    # ── The holder of the shares ────────────────────────────────────────────────────────────

    def take(self, progress: Progress) -> None:
        """Begin with a share."""
        assert progress.share not in self._reads, f"share {progress.share} is read already"
        read = self._reads[progress.share] = Reading()
        read.task = asyncio.ensure_future(self._follow(progress, read))

    async def let_go(self, share: int) -> None:
        """Let the batch in hand end, for so long; then leave it to whoever gets the share."""
        read = self._reads.pop(share, None)
        if read is None or read.task is None:
            return
        read.is_leaving.set()
        read.news.set()
        _, unfinished = await asyncio.wait([read.task], timeout=LET_GO_SECONDS)
        if unfinished:
            read.task.cancel()
            await asyncio.wait([read.task])
        self.trouble.pop(share, None)

    # ── One share ───────────────────────────────────────────────────────────────────────────

    async def _follow(self, progress: Progress, read: Reading) -> None:
        share, failures = progress.share, 0
        work = self._begin(progress)
        try:
            while not read.is_leaving.is_set():
                read.news.clear()  # Before the step: what comes meanwhile may be behind what it reads.
                try:
                    again_at = await self._stepped(work, share)
                except Fenced:
                    self.shares.lose(progress)
                    return
                except OutcomeUnknown as error:
                    # Tried again, what went with a cursor that has advanced would be done twice.
                    log.warning("share %d of reader %s looks anew where it is: %s", share, self.name, error)
                    self.shares.lose(progress)
                    return
                except Exception as error:  # Whatever it is, the events behind it still want to go on.
                    failures += 1
                    self._note(share, error, failures)
                    seconds = TROUBLE.delay_seconds(failures, self._environment.chance())
                    await _wait(read.is_leaving, seconds)
                    continue
                failures = 0
                self.trouble.pop(share, None)
                if again_at != 0:
                    now = self._environment.now()
                    left = IDLE_SECONDS if again_at is None else min(again_at - now, IDLE_SECONDS)
                    await _wait(read.news, max(left, WAIT_SECONDS_MIN))
        finally:
            await work.close()

    async def _stepped(self, work: Work, share: int) -> float | None:
        now = self._environment.now()
        if self.shares.until(share) <= now:
            # Somebody else may have it: the epoch would tell, but only after the work.
            self.shares.renew_soon()
            return now + LAPSED_SECONDS
        return await work.step()

    def _note(self, share: int, error: Exception, failures: int) -> None:
        self.trouble[share] = str(error) or repr(error)
        if failures > 1 and failures & failures - 1:
            return  # It is said again when it has failed twice as often.
        if isinstance(error, FinalityError):
            log.warning("share %d of reader %s is tried again: %s", share, self.name, error)
        else:
            log.exception("share %d of reader %s is tried again", share, self.name, exc_info=error)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
