"""RabbitMQ as a broker, on streams: what was acknowledged is still there, for groups that come later.

```
   publish ──▶ exchange ──▶ stream of a partition ──▶ consumer of a subscription
    confirmed                                            └─▶ stream of a group's progress
```
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence

from finality.adapters.log_subscription import LogSubscription
from finality.adapters.rabbitmq.address import Address, address_at
from finality.adapters.rabbitmq.health import Finding, findings
from finality.adapters.rabbitmq.line import Line
from finality.adapters.rabbitmq.log import StreamLog, replayed
from finality.adapters.rabbitmq.publish import EVENT_BYTES_MAX, Publisher
from finality.adapters.rabbitmq.streams import Streams
from finality.adapters.rabbitmq.wire import envelope_from, offset_of
from finality.adapters.subscriptions import Subscriptions
from finality.core.envelope import Envelope
from finality.core.errors import FinalityError, Unavailable
from finality.ports.broker import PARTITIONS, PUBLISH_EVENTS_MAX, Capabilities, Delivery
from finality.ports.environment import Environment
from finality.ports.topic_names import check_group, check_topic

CAPABILITIES = Capabilities(
    drops_repeats=False, replays=True, counts_deliveries=False, event_bytes_max=EVENT_BYTES_MAX
)
MARKS_MAX = 16  # Whoever makes a topic at the same time leaves a mark as well: those are no events.


def broker(url: str) -> RabbitMqBroker:
    """Return the broker at a URL such as ``amqp://user:password@host?replicas=3``, not yet connected."""
    return RabbitMqBroker(address_at(url))


class RabbitMqBroker:
    """Fulfils ``ports.broker.Broker``."""

    def __init__(self, address: Address) -> None:
        self.name = address.name
        self.capabilities = CAPABILITIES
        self._line = Line(address)
        self._streams = Streams(self._line)
        self._publisher = Publisher(self._line, self._streams)
        self._subscriptions: Subscriptions[LogSubscription] = Subscriptions()
        self._subscribing = asyncio.Lock()  # Two that make one stream at the same time do not get on.
        self._abandoned: set[asyncio.Task[None]] = set()  # The event loop alone would let go of them.

    async def open(self, environment: Environment) -> None:
        """Connect."""
        await self._line.connected()

    async def declare(self, topic: str, *, partitions: int = PARTITIONS) -> int:
        """Make sure that the topic is there; return how many partitions it has."""
        return await self._streams.declare(check_topic(topic), partitions)

    async def publish(self, events: Sequence[Envelope]) -> list[FinalityError | None]:
        """Store events; each is confirmed when most replicas of its stream have it."""
        assert len(events) <= PUBLISH_EVENTS_MAX, f"{len(events)} events are more than a batch"
        return await self._publisher.publish(events)

    async def subscribe(self, topic: str, group: str, partitions: Collection[int]) -> LogSubscription:
        """Begin to read some partitions for a group.

        It runs to its end also when the caller is cancelled: a node that is asked for a stream, and whose
        channel is closed in the middle, ends the connection with an internal error.
        """
        check_group(group)
        await self._subscribing.acquire()
        begun = asyncio.create_task(self._subscribe(topic, group, partitions))
        begun.add_done_callback(lambda _: self._subscribing.release())
        try:
            return await asyncio.shield(begun)
        except asyncio.CancelledError:
            begun.add_done_callback(self._abandon)
            raise

    def _abandon(self, begun: asyncio.Task[LogSubscription]) -> None:
        """Close a subscription that nobody waits for any more, if it came to be."""
        if not begun.cancelled() and begun.exception() is None:
            self._abandoned.add(closing := asyncio.create_task(begun.result().close()))
            closing.add_done_callback(self._abandoned.discard)

    async def _subscribe(self, topic: str, group: str, partitions: Collection[int]) -> LogSubscription:
        await self._streams.partitions(topic)
        numbers = sorted(partitions)
        begun = await asyncio.gather(*(self._streams.began(topic, group, number) for number in numbers))
        progress = dict(zip(numbers, begun, strict=True))
        log = StreamLog(self._line, topic, group, progress)
        await log.open()
        subscription = LogSubscription(self, log, topic, group, progress)
        return self._subscriptions.add(subscription)

    async def replay(self, topic: str, partition: int, *, after: str = "") -> AsyncIterator[Delivery]:
        """Yield what a partition holds behind a position, up to what is there now."""
        await self._streams.partitions(topic)
        end = await self._end(topic, partition)
        async for found in replayed(self._line, topic, partition, begin=int(after or -1) + 1, end=end):
            envelope = envelope_from(found, topic=topic, partition=partition, broker=self.name)
            yield Delivery(envelope, partition, str(offset_of(found)), 0)

    async def _end(self, topic: str, partition: int) -> int:
        last = await self._streams.look(f"{topic}/{partition}")
        if last is None:
            raise Unavailable(
                f"{self.name} does not have partition {partition} of {topic!r} yet; declare it again"
            )
        return offset_of(last)

    async def lag(self, topic: str, group: str) -> int:
        """Return how many events the group has not acknowledged, those that have aged away as well."""

        async def left(partition: int) -> int:
            end, progress = await asyncio.gather(
                self._end(topic, partition), self._streams.progress(topic, group, partition)
            )
            if 0 < end - progress.read_to <= MARKS_MAX:
                found = replayed(self._line, topic, partition, begin=progress.read_to + 1, end=end)
                unread = len([each async for each in found])
            else:
                unread = max(0, end - progress.read_to)
            return unread + len(progress.in_hand) + len(progress.later)

        partitions = await self._streams.partitions(topic)
        return sum(await asyncio.gather(*(left(partition) for partition in range(partitions))))

    async def health(self) -> list[Finding]:
        """Return what its promises rest on, as far as the node tells."""
        return await findings(self._line)

    async def close(self) -> None:
        """Let go of the connection."""
        await self._subscriptions.close()
        await self._publisher.close()
        await self._line.close()
