"""Kafka as a broker.

```
   publish ──▶ a batch a partition ──▶ topic, partition 0 … n ──▶ subscription, assigned by hand
                idempotent, acks=all      read_committed              progress: committed offset + text
```
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResourceType
from aiokafka.errors import KafkaConnectionError

from finality.adapters.kafka.connection import Cluster, answered, cluster_at, out_of_reach
from finality.adapters.kafka.health import Finding, findings
from finality.adapters.kafka.log import KafkaLog, kept, replayed, started, stopped
from finality.adapters.kafka.publish import Publisher
from finality.adapters.kafka.records import envelope_from
from finality.adapters.kafka.topics import Settings, Topics
from finality.adapters.log_subscription import LogSubscription
from finality.adapters.progress import Progress
from finality.adapters.subscriptions import Subscriptions
from finality.core.envelope import Envelope
from finality.core.errors import FinalityError
from finality.ports.broker import PARTITIONS, PUBLISH_EVENTS_MAX, Capabilities, Delivery
from finality.ports.environment import Environment
from finality.ports.topic_names import check_group, check_topic

EVENT_BYTES_MAX = 1_000_000  # Kafka's default for a batch of one, less room for attributes.
ATTRIBUTES_BYTES = 48_588  # That room.


def broker(url: str) -> KafkaBroker:
    """Return the broker at a URL such as ``kafka://one:9092,two:9092?replicas=3``, not yet connected."""
    return KafkaBroker(cluster_at(url))


class KafkaBroker:
    """Fulfils ``ports.broker.Broker``."""

    def __init__(self, cluster: Cluster) -> None:
        self.name = cluster.name
        self._cluster = cluster
        self._event_bytes_max = EVENT_BYTES_MAX
        self._subscriptions: Subscriptions[LogSubscription] = Subscriptions()

    @property
    def capabilities(self) -> Capabilities:
        """Return what it can promise: what is published again is stored again."""
        return Capabilities(
            drops_repeats=False,
            replays=True,
            counts_deliveries=False,
            event_bytes_max=self._event_bytes_max,
        )

    async def open(self, environment: Environment) -> None:
        """Connect."""
        self._admin = AIOKafkaAdminClient(**self._cluster.client)
        try:
            await self._connect()
            self._topics = Topics(self._cluster, self._admin)
            settings = await self._settings()
            largest = int(settings.get("message.max.bytes") or EVENT_BYTES_MAX + ATTRIBUTES_BYTES)
            self._event_bytes_max = min(EVENT_BYTES_MAX, max(0, largest - ATTRIBUTES_BYTES))
            self._publisher = Publisher(self._cluster, self._topics, self._event_bytes_max)
            await self._publisher.open()
        except BaseException:
            await self._admin.close()
            raise

    async def _connect(self) -> None:
        async with answered(self.name, "is out of reach"):
            try:
                await self._admin.start()
            except KafkaConnectionError as error:
                raise await out_of_reach(self._cluster, error) from error

    async def _settings(self) -> Settings:
        async with answered(self.name, "does not tell who belongs to it"):
            cluster = await self._admin.describe_cluster()
        return await self._topics.settings(ConfigResourceType.BROKER, str(cluster["brokers"][0]["node_id"]))

    async def declare(self, topic: str, *, partitions: int = PARTITIONS) -> int:
        """Make sure that the topic is there; return how many partitions it has."""
        return (await self._topics.declare(check_topic(topic), partitions)).partitions

    async def publish(self, events: Sequence[Envelope]) -> list[FinalityError | None]:
        """Store events: those of a partition in one batch, which is stored whole or not at all."""
        assert len(events) <= PUBLISH_EVENTS_MAX, f"{len(events)} events are more than a batch"
        return await self._publisher.publish(events)

    async def subscribe(self, topic: str, group: str, partitions: Collection[int]) -> LogSubscription:
        """Begin to read some partitions for a group."""
        check_group(group)
        await self._topics.find(topic)
        progress = await kept(self._cluster, self._admin, topic, group, sorted(partitions))
        log = KafkaLog(self._cluster, topic, group, progress)
        await log.open()
        subscription = LogSubscription(self, log, topic, group, progress)
        return self._subscriptions.add(subscription)

    async def replay(self, topic: str, partition: int, *, after: str = "") -> AsyncIterator[Delivery]:
        """Yield what a partition holds behind a position, up to what is there now."""
        await self._topics.find(topic)
        async for record in replayed(self._cluster, topic, partition, behind=int(after or -1)):
            envelope = envelope_from(record, topic=topic, broker=self.name)
            yield Delivery(envelope, partition, str(record.offset), 0)

    async def lag(self, topic: str, group: str) -> int:
        """Return how many events the group has not acknowledged; of a transaction its end counts as one."""
        partitions = range((await self._topics.find(topic)).partitions)
        progress = await kept(self._cluster, self._admin, topic, group, partitions)
        consumer = await started(self._cluster, None)
        try:
            places = [TopicPartition(topic, each) for each in partitions]
            async with answered(self.name, "cannot be read"):
                begins, ends = await asyncio.gather(
                    consumer.beginning_offsets(places), consumer.end_offsets(places)
                )
        finally:
            await stopped(consumer)
        return sum(_left(progress[each.partition], begins[each], ends[each]) for each in places)

    async def health(self) -> list[Finding]:
        """Return what its promises rest on, in the cluster's settings and those of the topics in use."""
        return await findings(
            await self._settings(), self._topics, is_idempotent=self._publisher.is_idempotent
        )

    async def close(self) -> None:
        """Let go of the connections."""
        await self._subscriptions.close()
        await self._publisher.close()
        await self._admin.close()


def _left(progress: Progress, begin: int, end: int) -> int:
    """Return how many events of a partition are not done."""
    not_done = sum(1 for position in (*progress.in_hand, *progress.later) if position >= begin)
    return max(0, end - max(progress.read_to + 1, begin)) + not_done
