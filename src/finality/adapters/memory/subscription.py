"""Some partitions of a topic in memory, read for a group."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from finality.adapters.memory.topics import MemoryTopics, Partition
from finality.adapters.progress import Progress
from finality.ports.broker import PARKED_PARTITIONS, TAKE_EVENTS_MAX, Delivery, parked, parked_topic


class MemorySubscription:
    """Fulfils ``ports.broker.Subscription``."""

    def __init__(self, topics: MemoryTopics, topic: str, group: str, partitions: Collection[int]) -> None:
        self.is_closed = False
        self._topics = topics
        self._topic = topic
        self._group = group
        self._loop = asyncio.get_running_loop()  # Its clock is one for all nodes of the process.
        self._woken: asyncio.Future[None] | None = None
        with topics.lock:
            all_partitions = topics.topic(topic).partitions
            self._partitions: dict[int, Partition] = {n: all_partitions[n] for n in sorted(partitions)}
            for partition in self._partitions.values():
                partition.of(group).let_go()
                before = partition.wakers.get(group)
                partition.wakers[group] = self._wake
                if before is not None:
                    before()  # It sees that it has lost the partition.

    async def take(self, limit: int = TAKE_EVENTS_MAX) -> list[Delivery]:
        """Wait until there is something, and return it."""
        while not self.is_closed:
            with self._topics.lock:
                if len(self._held()) < len(self._partitions):
                    break
                deliveries, due = self._picked(limit)
                self._woken = None if deliveries else self._loop.create_future()
            if self._woken is None:
                return deliveries
            await self._wait(self._woken, due)
        return []

    def _picked(self, limit: int) -> tuple[list[Delivery], float | None]:
        """Return what there is now, else when the next is due."""
        deliveries: list[Delivery] = []
        dues: list[float] = []
        for number, partition in self._held():
            progress = partition.of(self._group)
            ready = progress.due(self._loop.time())
            ready += range(progress.read_to + 1, min(partition.last, progress.read_to + limit) + 1)
            for position in ready[: limit - len(deliveries)]:
                attempt = progress.give(position)
                deliveries.append(Delivery(partition.at(position), number, str(position), attempt, position))
            if progress.next_due is not None:
                dues.append(progress.next_due)
        if deliveries:  # The next take begins where this one had no room, perhaps.
            last = deliveries[-1].partition
            self._partitions[last] = self._partitions.pop(last)
        return deliveries, min(dues, default=None)

    def _held(self) -> list[tuple[int, Partition]]:
        """Return the partitions that nobody has taken over."""
        return [each for each in self._partitions.items() if each[1].wakers.get(self._group) == self._wake]

    async def _wait(self, woken: asyncio.Future[None], due: float | None) -> None:
        timer = None if due is None else self._loop.call_at(due, self._wake_here)
        try:
            await woken
        finally:
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        """Wake who waits, from whatever thread."""
        if self._woken is None:
            return
        try:
            is_here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            is_here = False
        if is_here:
            self._wake_here()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake_here)

    def _wake_here(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """The group is done with these."""
        with self._topics.lock:
            for delivery in deliveries:
                self._progress(delivery).done(delivery.receipt)

    async def retry_later(self, delivery: Delivery, seconds: float) -> None:
        """Give it back, to be delivered again."""
        with self._topics.lock:
            self._progress(delivery).put_back(delivery.receipt, self._loop.time() + seconds)
        self._wake()

    async def park(self, delivery: Delivery, because: str) -> None:
        """Put it aside, and acknowledge it."""
        with self._topics.lock:
            aside = self._topics.declare(parked_topic(self._topic, self._group), PARKED_PARTITIONS)
            problem = aside.publish(parked(delivery.envelope, self._group, because))
            if problem is not None:
                raise problem
            self._progress(delivery).done(delivery.receipt)

    def _progress(self, delivery: Delivery) -> Progress:
        return self._partitions[delivery.partition].of(self._group)

    async def close(self) -> None:
        """Let go."""
        if self.is_closed:
            return
        self.is_closed = True
        with self._topics.lock:
            for _, partition in self._held():
                del partition.wakers[self._group]
                partition.of(self._group).let_go()
        self._wake()
