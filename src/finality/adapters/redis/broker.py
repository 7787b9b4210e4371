"""Redis or Valkey as a broker: a stream for each partition, all in the memory of one server.

```
   topic ──▶ streams, a group of each for each consumer; the append-only file makes them durable
```
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

from finality.adapters.redis.address import Address, address_at
from finality.adapters.redis.health import findings
from finality.adapters.redis.line import Line
from finality.adapters.redis.publish import EVENT_BYTES_MAX, Publisher
from finality.adapters.redis.subscription import RedisSubscription
from finality.adapters.redis.topics import Topics
from finality.adapters.redis.wire import envelope_in, stream_key
from finality.adapters.subscriptions import Subscriptions
from finality.core.envelope import Envelope
from finality.core.errors import FinalityError
from finality.ports.broker import PARTITIONS, PUBLISH_EVENTS_MAX, Capabilities, Delivery
from finality.ports.environment import Environment
from finality.ports.topic_names import check_group, check_topic

PAGE_EVENTS = 500
CAPABILITIES = Capabilities(
    drops_repeats=True,
    replays=True,
    counts_deliveries=True,
    event_bytes_max=EVENT_BYTES_MAX,
)


def broker(url: str) -> RedisBroker:
    """Return the broker at ``redis://host:6379/0``, ``rediss://…`` or ``valkey://…``.

    Options behind ``?``: ``window`` and ``keep`` (seconds), and ``wait``, how many replicas have to have an
    event.
    """
    return RedisBroker(address_at(url))


class RedisBroker:
    """Fulfils ``ports.broker.Broker``."""

    def __init__(self, address: Address) -> None:
        self.name = address.name
        self.capabilities = CAPABILITIES
        self._line = Line(address)
        self._topics = Topics(self._line)
        self._publisher = Publisher(self._line, self._topics)
        self._subscriptions: Subscriptions[RedisSubscription] = Subscriptions()

    async def open(self, environment: Environment) -> None:
        """Connect; a part of a cluster is refused."""
        await self._line.open()

    async def declare(self, topic: str, *, partitions: int = PARTITIONS) -> int:
        """Make sure that the topic is there; return how many partitions it has."""
        return (await self._topics.declare(check_topic(topic), partitions)).partitions

    async def publish(self, events: Sequence[Envelope]) -> list[FinalityError | None]:
        """Store events, those of a partition all or none."""
        assert len(events) <= PUBLISH_EVENTS_MAX, f"{len(events)} events are more than a batch"
        return await self._publisher.publish(events)

    async def subscribe(self, topic: str, group: str, partitions: Collection[int]) -> RedisSubscription:
        """Begin to read some partitions for a group."""
        check_group(group)
        await self._topics.find(topic)
        subscription = RedisSubscription(self._line, self._topics, self._publisher, topic, group, partitions)
        self._subscriptions.add(subscription)
        try:
            await subscription.open()
        except BaseException:
            await subscription.close()
            raise
        return subscription

    async def replay(self, topic: str, partition: int, *, after: str = "") -> AsyncIterator[Delivery]:
        """Yield what a partition holds behind a position."""
        await self._topics.find(topic)
        stream = stream_key(topic, partition)
        with self._line.asking():
            newest: Any = await self._line.client.xrevrange(stream, count=1)
        if not newest:
            return
        last = newest[0][0].decode()
        while True:
            first = f"({after}" if after else "-"
            with self._line.asking():
                page: Any = await self._line.client.xrange(stream, first, last, PAGE_EVENTS)
            for id, fields in page:
                after = id.decode()
                envelope = envelope_in(fields, topic=topic, position=f"{partition}/{after}", broker=self.name)
                yield Delivery(envelope, partition, after, attempt=0)
            if len(page) < PAGE_EVENTS:
                return

    async def lag(self, topic: str, group: str) -> int:
        """Return how many events the group has not acknowledged yet."""
        found = await self._topics.find(topic)
        streams = [stream_key(topic, partition) for partition in range(found.partitions)]
        with self._line.asking():
            return sum([await self._lag(stream, group) for stream in streams])

    async def _lag(self, stream: str, group: str) -> int:
        client = self._line.client
        if not await client.exists(stream):
            return 0
        for each in await client.xinfo_groups(stream):
            if each["name"].decode() != group:
                continue
            pending = int(each["pending"])
            if each["lag"] is not None:
                return pending + int(each["lag"])
            # It does not know when entries that nobody had read were deleted: then they are counted.
            newer: Any = await client.xrange(stream, "(" + each["last-delivered-id"].decode())
            return pending + len(newer)
        return int(await client.xlen(stream))

    async def health(self) -> list[tuple[str, bool, str]]:
        """Look at what its promises rest on."""
        return await findings(self._line)

    async def close(self) -> None:
        """Close its subscriptions, and the connections."""
        await self._subscriptions.close()
        await self._line.close()
