"""NATS JetStream as a broker.

```
   topic ──▶ stream, a subject for each partition, stored in files, replicated
   group ──▶ a durable consumer for each partition
```
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence

from nats.js import api
from nats.js.errors import NotFoundError

from finality.adapters.nats.address import Address, address_at
from finality.adapters.nats.health import findings
from finality.adapters.nats.line import Line
from finality.adapters.nats.publish import Publisher
from finality.adapters.nats.subscription import NatsSubscription
from finality.adapters.nats.topics import Topics
from finality.adapters.nats.wire import durable_of, envelope_in, place_of, stream_of, subject_of
from finality.adapters.subscriptions import Subscriptions
from finality.core.envelope import Envelope
from finality.core.errors import FinalityError
from finality.ports.broker import PARTITIONS, PUBLISH_EVENTS_MAX, Capabilities, Delivery
from finality.ports.environment import Environment
from finality.ports.topic_names import check_group, check_topic

REPLAY_EVENTS = 500  # A pull.
REPLAY_IDLE_SECONDS = 60.0  # Then the server forgets the consumer of a replay that nobody goes on with.
REPLAY_SECONDS_MAX = 5.0  # For the next of the events that were counted before.


def broker(url: str) -> NatsBroker:
    """Return the broker at ``nats://host:4222``; several hosts stand with commas between them.

    Options behind ``?``: ``replicas``, ``storage``, ``window`` and ``keep`` (seconds) of topics that it
    declares, ``credentials`` (a file), and ``system`` (``user:password`` in the system account, for
    ``health``).
    """
    return NatsBroker(address_at(url))


class NatsBroker:
    """Fulfils ``ports.broker.Broker``."""

    def __init__(self, address: Address) -> None:
        self.name = address.name
        self._address = address
        self._line = Line(address)
        self._topics = Topics(self._line)
        self._publisher = Publisher(self._line, self._topics)
        self._subscriptions: Subscriptions[NatsSubscription] = Subscriptions()

    @property
    def capabilities(self) -> Capabilities:
        """Return what it can promise."""
        return Capabilities(
            drops_repeats=True,
            replays=True,
            counts_deliveries=True,
            event_bytes_max=self._publisher.event_bytes_max,
        )

    async def open(self, environment: Environment) -> None:
        """Connect."""
        await self._line.open()

    async def declare(self, topic: str, *, partitions: int = PARTITIONS) -> int:
        """Make sure that the topic is there; return how many partitions it has."""
        return await self._topics.declare(check_topic(topic), partitions)

    async def publish(self, events: Sequence[Envelope]) -> list[FinalityError | None]:
        """Store events, those of a topic all or none."""
        assert len(events) <= PUBLISH_EVENTS_MAX, f"{len(events)} events are more than a batch"
        return await self._publisher.publish(events)

    async def subscribe(self, topic: str, group: str, partitions: Collection[int]) -> NatsSubscription:
        """Begin to read some partitions for a group."""
        check_group(group)
        await self._topics.partitions(topic)
        subscription = NatsSubscription(self._line, self._topics, self._publisher, topic, group, partitions)
        self._subscriptions.add(subscription)
        try:
            await subscription.open()
        except BaseException:
            await subscription.close()
            raise
        return subscription

    async def replay(self, topic: str, partition: int, *, after: str = "") -> AsyncIterator[Delivery]:
        """Yield what a partition holds behind a position."""
        await self._topics.partitions(topic)
        config = api.ConsumerConfig(
            deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=int(after or 0) + 1,
            filter_subject=subject_of(topic, partition),
            ack_policy=api.AckPolicy.NONE,
            inactive_threshold=REPLAY_IDLE_SECONDS,
            mem_storage=True,
            num_replicas=1,
        )
        stream = stream_of(topic)
        async with self._line.asking():
            info = await self._line.streams.add_consumer(stream, config)
            reading = await self._line.streams.pull_subscribe_bind(consumer=info.name, stream=stream)
        left = info.num_pending or 0
        try:
            while left > 0:
                async with self._line.asking():
                    messages = await reading.fetch(min(left, REPLAY_EVENTS), timeout=REPLAY_SECONDS_MAX)
                left -= len(messages)
                for message in messages:
                    place = place_of(message.reply)
                    assert place is not None, f"{message.reply} is of no delivery"
                    position = str(place.sequence)
                    envelope = envelope_in(
                        message.headers, message.data,
                        topic=topic, position=f"{partition}/{position}", broker=self.name,
                    )  # fmt: skip
                    yield Delivery(envelope, partition, position, attempt=0)
        finally:
            async with self._line.asking():
                await reading.unsubscribe()
                await self._line.streams.delete_consumer(stream, info.name)

    async def lag(self, topic: str, group: str) -> int:
        """Return how many events the group has not acknowledged yet."""
        partitions = await self._topics.partitions(topic)
        return sum(await asyncio.gather(*(self._lag(topic, group, n) for n in range(partitions))))

    async def _lag(self, topic: str, group: str, partition: int) -> int:
        stream, subject = stream_of(topic), subject_of(topic, partition)
        async with self._line.asking():
            try:
                info = await self._line.streams.consumer_info(stream, durable_of(group, partition))
            except NotFoundError:  # The group has not begun to read it.
                found = await self._line.streams.stream_info(stream, subjects_filter=subject)
                return (found.state.subjects or {}).get(subject, 0)
        return (info.num_pending or 0) + (info.num_ack_pending or 0)

    async def health(self) -> list[tuple[str, bool, str]]:
        """Look at what its promises rest on."""
        return await findings(self._line)

    async def close(self) -> None:
        """Close its subscriptions, and the connection."""
        await self._subscriptions.close()
        await self._line.close()
