"""A subscription to a log: a broker that stores events in order, and of a group's progress only a text.

```
   log ── read ──▶ in hand ── ack ──▶ progress ── keep ──▶ broker
                    ▲   └─ retry_later ─▶ later ─┐
                    └────────── when due ────────┘
```

What was acknowledged out of order is remembered, too: the text names the gaps. What is given back waits in
memory, so a crash delivers it at once.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from finality.adapters.progress import Progress
from finality.core.envelope import Envelope
from finality.ports.broker import (
    PARKED_PARTITIONS,
    TAKE_EVENTS_MAX,
    Broker,
    Delivery,
    parked,
    parked_topic,
)

IN_HAND_MAX = (
    10_000  # Of a subscription: some 10 MiB of usual events. Who wants more acknowledges some first.
)


class Entry(NamedTuple):
    """An event in a log."""

    partition: int
    position: int
    envelope: Envelope


class Log(Protocol):
    """The partitions of a topic that a subscription reads, from behind what the group has done."""

    async def read(self) -> Sequence[Entry]:
        """Wait until there are entries behind those that were returned before, and return them.

        Raises:
            Unavailable: The broker is out of reach; read again later.
        """
        ...

    async def keep(self, progress: Mapping[int, Progress]) -> None:
        """Make the group's progress in some partitions durable.

        Raises:
            Unavailable: It may not have been kept.
        """
        ...

    async def close(self) -> None:
        """Let go."""
        ...


class LogSubscription:
    """Fulfils ``ports.broker.Subscription``."""

    def __init__(
        self, broker: Broker, log: Log, topic: str, group: str, progress: Mapping[int, Progress]
    ) -> None:
        self.is_closed = False
        self._broker = broker
        self._log = log
        self._topic = topic
        self._group = group
        self._loop = asyncio.get_running_loop()
        self._progress = dict(progress)
        # How far each partition was read before, and how far this time.
        self._resumed = {number: each.read_to for number, each in progress.items()}
        self._read_to: dict[int, int] = {}
        self._held: dict[tuple[int, int], Envelope] = {}  # In hand, or to come again.
        self._entries: deque[Entry] = deque()  # Read, and not given yet.
        self._reading: asyncio.Task[Sequence[Entry]] | None = None
        self._woken: asyncio.Future[None] | None = None
        self._changed: set[int] = set()
        self._keeping = asyncio.Lock()

    async def take(self, limit: int = TAKE_EVENTS_MAX) -> list[Delivery]:
        """Wait until there is something, and return it."""
        while not self.is_closed:
            if deliveries := self._due(limit) or self._fresh(limit):
                return deliveries
            await self._wait()
        return []

    def _due(self, limit: int) -> list[Delivery]:
        """Give again what was given back, and is due."""
        now = self._loop.time()
        ready = [(n, each) for n, progress in self._progress.items() for each in progress.due(now)]
        return [self._given(Entry(n, each, self._held[n, each])) for n, each in ready[:limit]]

    def _fresh(self, limit: int) -> list[Delivery]:
        """Give what was read."""
        if self._reading is not None and self._reading.done():
            reading, self._reading = self._reading, None
            self._entries.extend(reading.result())
        deliveries: list[Delivery] = []
        while self._entries and len(deliveries) < limit and len(self._held) < IN_HAND_MAX:
            entry = self._entries.popleft()
            if not self._is_done(entry):
                deliveries.append(self._given(entry))
        return deliveries

    def _is_done(self, entry: Entry) -> bool:
        """Say whether the group has done it before; follow a log that begins later, or anew."""
        number, position, _ = entry
        progress = self._progress[number]
        if position <= self._read_to.get(number, -1):  # The log was lost, and begins anew.
            progress = self._progress[number] = Progress(position - 1)
            self._resumed.pop(number, None)
        self._read_to[number] = position
        if number not in self._resumed:
            return False
        for lost in [each for each in progress.later if each < position and (number, each) not in self._held]:
            del progress.later[lost]  # It was not done, and is not there any more.
        if position > self._resumed[number]:
            del self._resumed[number]
            return False
        return position not in progress.later

    def _given(self, entry: Entry) -> Delivery:
        number, position, envelope = entry
        self._progress[number].give(position)
        self._held[number, position] = envelope
        return Delivery(envelope, number, str(position), 0, position)

    async def _wait(self) -> None:
        """Wait for entries, for something to come due, or for room."""
        self._woken = self._loop.create_future()
        waiting: set[asyncio.Future[Any]] = {self._woken}
        if len(self._held) < IN_HAND_MAX:
            if self._reading is None:
                self._reading = asyncio.create_task(self._log.read())
            waiting.add(self._reading)
        dues = [due for each in self._progress.values() if (due := each.next_due) not in (None, math.inf)]
        seconds = max(0.0, min(dues) - self._loop.time()) if dues else None
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """The group is done with these; durable on return."""
        for each in deliveries:
            self._progress[each.partition].done(each.receipt)
            self._held.pop((each.partition, each.receipt), None)
            self._changed.add(each.partition)
        self._wake()
        await self._keep()

    async def _keep(self) -> None:
        """Keep what has changed; whoever comes meanwhile finds it kept with his own."""
        async with self._keeping:
            changed, self._changed = self._changed, set()
            if not changed:
                return
            try:
                await self._log.keep({number: self._progress[number] for number in changed})
            except BaseException:
                self._changed |= changed
                raise

    async def retry_later(self, delivery: Delivery, seconds: float) -> None:
        """Give it back, to be delivered again; it waits in memory."""
        self._progress[delivery.partition].put_back(delivery.receipt, self._loop.time() + seconds)
        self._wake()

    async def park(self, delivery: Delivery, because: str) -> None:
        """Put it aside, and acknowledge it."""
        await self._broker.declare(parked_topic(self._topic, self._group), partitions=PARKED_PARTITIONS)
        (problem,) = await self._broker.publish([parked(delivery.envelope, self._group, because)])
        if problem is not None:
            raise problem
        await self.ack([delivery])

    async def close(self) -> None:
        """Let go."""
        if self.is_closed:
            return
        self.is_closed = True
        self._wake()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self._log.close()
