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
from finality.adapters.progress import Progress
from finality.adapters.rabbitmq.address import Address, address_at
from finality.adapters.rabbitmq.health import Finding, findings
from finality.adapters.rabbitmq.line import Line
from finality.adapters.rabbitmq.log import StreamLog, replayed
from finality.adapters.rabbitmq.publish import EVENT_BYTES_MAX, Publisher
from finality.adapters.rabbitmq.streams import Streams
from finality.adapters.rabbitmq.wire import envelope_from, offset_of
from finality.core.envelope import Envelope
from finality.core.errors import FinalityError, Unavailable
from finality.ports.broker import PARTITIONS, PUBLISH_EVENTS_MAX, Capabilities, Delivery
from finality.ports.environment import Environment
from finality.ports.topic_names import check_group, check_topic

CAPABILITIES = Capabilities(
    drops_repeats=False, replays=True, counts_deliveries=False, delays=False, event_bytes_max=EVENT_BYTES_MAX
)


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
        self._subscriptions: list[LogSubscription] = []

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
        """Begin to read some partitions for a group."""
        check_group(group)
        await self._streams.partitions(topic)
        numbers = sorted(partitions)
        begun = await asyncio.gather(*(self._streams.began(topic, group, number) for number in numbers))
        progress = dict(zip(numbers, begun, strict=True))
        log = StreamLog(self._line, topic, group, progress)
        await log.open()
        subscription = LogSubscription(self, log, topic, group, progress)
        self._subscriptions = [each for each in self._subscriptions if not each.is_closed]
        self._subscriptions.append(subscription)
        return subscription

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
            return _left(progress, end)

        partitions = await self._streams.partitions(topic)
        return sum(await asyncio.gather(*(left(partition) for partition in range(partitions))))

    async def health(self) -> list[Finding]:
        """Return what its promises rest on, as far as the node tells."""
        return await findings(self._line)

    async def close(self) -> None:
        """Let go of the connection."""
        for subscription in self._subscriptions:
            await subscription.close()
        await self._publisher.close()
        await self._line.close()


def _left(progress: Progress, end: int) -> int:
    """Return how many events of a partition are not done."""
    return max(0, end - progress.read_to) + len(progress.in_hand) + len(progress.later)
