"""What only Kafka has: transactions, records that are deleted, and servers that have less than it."""

from __future__ import annotations

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResourceType

import finality.testing
from finality.adapters.kafka.broker import broker
from finality.adapters.system.environment import SystemEnvironment
from finality.core.errors import DefinitionError, Unavailable
from finality.core.placement import partition_of
from finality.ports.broker import Rejected
from finality.testing.kafka_server import KafkaServer
from tests.conformance.brokers.kafka_world import KafkaWorld
from tests.conformance.brokers.worlds import (
    ALL,
    GROUP,
    PARTITIONS,
    bodies,
    by_key,
    event,
    events,
    publish,
    run,
    sent_by_key,
    take,
    takes_nothing,
    topic_on,
    until,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("kafka"),
]
on_kafka = pytest.mark.parametrize("world", ["kafka"], indirect=True)


@on_kafka
def test_what_was_aborted_is_not_seen(world: KafkaWorld, apache_kafka: KafkaServer) -> None:
    async def story() -> None:
        async with topic_on(world) as (reader, topic):
            address = f"127.0.0.1:{apache_kafka.port}"
            other = AIOKafkaProducer(bootstrap_servers=address, transactional_id=f"other-{topic}")
            async with other:
                await other.begin_transaction()
                await other.send_and_wait(topic, b"aborted", partition=0)
                await other.abort_transaction()
            subscription = await reader.subscribe(topic, GROUP, ALL)
            assert await takes_nothing(subscription)
            sent = event(topic, "k")
            await publish(reader, sent)

            assert bodies(await take(subscription, 1)) == [sent.data]

    run(story())


@on_kafka
def test_a_batch_is_a_transaction_where_the_url_says_so(world: KafkaWorld, apache_kafka: KafkaServer) -> None:
    """One event of it cannot be stored, so none is; what comes next is stored as if nothing had been."""

    async def story() -> None:
        async with topic_on(world) as (reader, topic), topic_on(world) as (_, small):
            writer = broker(f"{apache_kafka.url}?transactional_id=relay-{topic}")
            await writer.open(SystemEnvironment())
            try:
                published = [*events(topic, 6, "a", "b", "c"), event(small, "k", bytes(5_000))]
                await publish(writer, *published)
                await world.alter(ConfigResourceType.TOPIC, small, {"max.message.bytes": "1000"})

                async def is_altered() -> bool:  # The node that has the topic hears of it later.
                    [outcome] = await reader.publish([published[-1]])
                    return type(outcome) is Rejected

                await until(is_altered)
                outcomes = await writer.publish(published)
                assert {type(each) for each in outcomes} == {Unavailable}
                subscription = await reader.subscribe(topic, GROUP, ALL)
                assert by_key(await take(subscription, 6)) == sent_by_key(published[:6])
                assert await takes_nothing(subscription)

                *outcomes, last = await writer.publish(published)
                assert (outcomes, type(last)) == ([None] * 6, Rejected)
                assert by_key(await take(subscription, 6)) == sent_by_key(published[:6])
            finally:
                await writer.close()

    run(story())


@on_kafka
def test_what_the_cluster_has_deleted_holds_nobody_up(world: KafkaWorld, apache_kafka: KafkaServer) -> None:
    async def story() -> None:
        async with topic_on(world) as (reader, topic):
            published = events(topic, 6, "k")
            partition = partition_of("k", PARTITIONS)
            await publish(reader, *published)
            subscription = await reader.subscribe(topic, GROUP, ALL)
            taken = await take(subscription, 3)
            await subscription.ack(taken[2:])
            await subscription.close()
            admin = AIOKafkaAdminClient(bootstrap_servers=f"127.0.0.1:{apache_kafka.port}")
            await admin.start()
            await admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(before_offset=4)})
            await admin.close()

            assert await reader.lag(topic, GROUP) == 2
            subscription = await reader.subscribe(topic, GROUP, ALL)
            left = await take(subscription, 2)
            assert bodies(left) == [each.data for each in published[4:]]
            await subscription.ack(left)
            assert await reader.lag(topic, GROUP) == 0

    run(story())


def test_a_server_without_idempotence_and_settings_does_for_tests() -> None:
    """Tansu has neither, and is gone with its process: the adapter says so and goes on."""

    async def story(url: str) -> None:
        plain = broker(url)
        await plain.open(SystemEnvironment())
        try:
            assert await plain.declare("orders", partitions=PARTITIONS) == PARTITIONS
            published = events("orders", 20, "a", "b", "c")
            await publish(plain, *published)
            subscription = await plain.subscribe("orders", GROUP, ALL)
            taken = await take(subscription, 20)
            assert by_key(taken) == sent_by_key(published)
            await subscription.ack(taken)
            assert await plain.lag("orders", GROUP) == 0
            [(check, is_good, _)] = await plain.health()
            assert (check, is_good) == ("settings", False)
            (too_large,) = await plain.publish([event("orders", "k", bytes(2_000_000))])
            assert isinstance(too_large, Rejected)
        finally:
            await plain.close()

    with finality.testing.kafka() as server:
        run(story(server.url))


@pytest.mark.parametrize(
    "url",
    [
        "kafka://",
        "kafka://host/orders",
        "kafka://host:",
        "kafka://host?replica=3",
        "kafka://me:secret@host?security=TELNET",
    ],
)
def test_a_url_of_no_cluster_is_refused(url: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        broker(url)

    assert "secret" not in str(refused.value)
