"""What only RabbitMQ has: alarms, streams that somebody deletes, and topics that were left half made."""

from __future__ import annotations

import asyncio
from typing import Any

import aio_pika
import pytest
from pamqp.frame import unmarshal

from finality.adapters.rabbitmq.broker import broker
from finality.adapters.rabbitmq.frames import frames_of
from finality.adapters.rabbitmq.wire import MARK, PREFIX
from finality.adapters.system.environment import SystemEnvironment
from finality.core.envelope import Envelope, attributes_of
from finality.core.errors import DefinitionError, Unavailable
from finality.ports.broker import Rejected
from finality.testing.rabbitmq_server import RabbitMqServer
from tests.conformance.brokers.rabbitmq_world import RabbitMqWorld
from tests.conformance.brokers.worlds import (
    ALL,
    GROUP,
    PARTITIONS,
    PATIENCE_SECONDS,
    bodies,
    event,
    opened,
    publish,
    publish_patiently,
    run,
    take,
    topic_name,
    topic_on,
)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("rabbitmq")]
on_rabbitmq = pytest.mark.parametrize("world", ["rabbitmq"], indirect=True)


@on_rabbitmq
def test_a_node_with_an_alarm_takes_nothing_and_says_so(
    world: RabbitMqWorld, rabbitmq_server: RabbitMqServer
) -> None:
    """The disk is nearly full; when there is room again the same connection goes on."""

    async def story() -> None:
        async with topic_on(world) as (connected, topic):
            sent = event(topic, "k")
            await asyncio.to_thread(rabbitmq_server.tell, "set_disk_free_limit", "100000GB")
            try:
                [outcome], findings = await asyncio.gather(connected.publish([sent]), connected.health())
                assert isinstance(outcome, Unavailable)
                assert {check for check, is_good, _ in findings if not is_good} == {"alarm"}
            finally:
                await asyncio.to_thread(rabbitmq_server.tell, "set_disk_free_limit", "50MB")
            await publish_patiently(connected, [sent])
            taken = await take(await connected.subscribe(topic, GROUP, ALL), 1)
            assert bodies(taken) == [sent.data]

    run(story())


@on_rabbitmq
def test_a_batch_whose_channel_is_closed_takes_no_other_with_it(
    world: RabbitMqWorld, rabbitmq_server: RabbitMqServer
) -> None:
    """The node closes a channel on which somebody publishes to an exchange that is gone."""

    async def story() -> None:
        async with topic_on(world) as (connected, kept):
            gone = topic_name()
            await connected.declare(gone)
            async with await aio_pika.connect(rabbitmq_server.url) as line:
                await (await line.channel()).exchange_delete(gone)
            [lost], *others = await asyncio.gather(
                connected.publish([event(gone, "k")]),
                *(connected.publish([event(kept, f"{n}")]) for n in range(3)),
            )

            assert isinstance(lost, Unavailable)
            assert others == [[None]] * 3

    run(story())


@on_rabbitmq
def test_a_stream_that_is_deleted_under_a_reader_is_noticed(
    world: RabbitMqWorld, rabbitmq_server: RabbitMqServer
) -> None:
    async def story() -> None:
        async with topic_on(world) as (connected, topic):
            subscription = await connected.subscribe(topic, GROUP, ALL)
            async with await aio_pika.connect(rabbitmq_server.url) as line:
                await (await line.channel()).queue_delete(f"{topic}/0")
            with pytest.raises(Unavailable):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await subscription.take()

    run(story())


@on_rabbitmq
def test_a_topic_that_was_left_half_made_is_made_whole(
    world: RabbitMqWorld, rabbitmq_server: RabbitMqServer
) -> None:
    """Whoever declared it died behind its number of partitions, with one of them empty."""

    async def story() -> None:
        topic = topic_name()
        async with topic_on(world) as (_, whole), await aio_pika.connect(rabbitmq_server.url) as line:
            channel = await line.channel()
            stream: dict[str, Any] = {"x-queue-type": "stream"}
            await channel.declare_queue(f"{topic}/partitions", durable=True, arguments=stream)
            await channel.default_exchange.publish(aio_pika.Message(b"4"), f"{topic}/partitions")
            kept = stream | {"x-max-age": "604800s", "x-initial-cluster-size": 3}
            await channel.declare_queue(f"{topic}/0", durable=True, arguments=kept)
            async with opened(world) as left, opened(world) as right:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    declared = await asyncio.gather(left.declare(topic, partitions=7), right.declare(topic))
                assert [*declared] == [PARTITIONS, PARTITIONS]
                sent = [event(topic, f"k{n}") for n in range(8)]
                await publish(left, *sent)
                taken = await take(await right.subscribe(topic, GROUP, ALL), 8)
                assert sorted(bodies(taken)) == sorted(each.data for each in sent)
                await publish(left, event(whole, "k"))

    run(story())


@on_rabbitmq
def test_attributes_with_the_other_prefix_are_understood(
    world: RabbitMqWorld, rabbitmq_server: RabbitMqServer
) -> None:
    async def story() -> None:
        async with topic_on(world) as (connected, topic):
            attributes = {
                "id": "1",
                "source": "/other",
                "type": "Placed",
                "specversion": "1.0",
                "tenant": "42",
            }
            headers = {f"cloudEvents_{name}": value for name, value in attributes.items()}
            async with await aio_pika.connect(rabbitmq_server.url) as line:
                exchange = await (await line.channel()).get_exchange(topic)
                body = aio_pika.Message(b"{}", headers=dict(headers), content_type="application/json")
                await exchange.publish(body, "2")
            [found] = await take(await connected.subscribe(topic, GROUP, ALL), 1)

            assert (found.envelope.id, found.envelope.source, found.partition) == ("1", "/other", 2)
            assert found.envelope.extensions == {"tenant": "42"}

    run(story())


@pytest.mark.parametrize("data", [b"", b"{}", b"x" * 1_000])
def test_the_client_reads_what_is_sent_as_its_own(data: bytes) -> None:
    sent = Envelope("é", "/shop", "Placed", "orders", data, "k", extensions={"tenant": "ü" * 300})
    left, read = frames_of(sent, 7, channel=3, piece_bytes=400), list[Any]()
    while left:
        size, channel, frame = unmarshal(left)
        left = left[size:]
        assert channel == 3
        read.append(frame)
    publish, header, *body = read

    assert (publish.exchange, publish.routing_key, publish.mandatory) == ("orders", "7", True)
    attributes = {PREFIX + name: value for name, value in attributes_of(sent).items()}
    assert header.properties.content_type == attributes.pop(f"{PREFIX}datacontenttype")
    assert header.properties.headers == attributes
    assert (header.properties.message_id, header.properties.delivery_mode) == ("é", 2)
    assert header.body_size == len(data) == sum(len(piece.value) for piece in body)
    assert b"".join(piece.value for piece in body) == data
    assert max((len(piece.value) for piece in body), default=0) <= 400


@on_rabbitmq
def test_an_event_that_amqp_cannot_carry_is_rejected_and_its_neighbour_is_stored(
    world: RabbitMqWorld, rabbitmq_server: RabbitMqServer
) -> None:
    async def story() -> None:
        async with topic_on(world) as (connected, topic):
            good = event(topic, "k")
            outcomes = await connected.publish([event(topic, "other")._replace(id="i" * 256), good])

            assert isinstance(outcomes[0], Rejected)
            assert outcomes[1] is None
            taken = await take(await connected.subscribe(topic, GROUP, ALL), 1)
            assert bodies(taken) == [good.data]

    run(story())


@pytest.mark.parametrize(
    "url", ["amqp://", "amqp://me:secret@host?keep=a", "amqp://me:secret@host?replicas=0"]
)
def test_a_url_of_no_node_is_refused(url: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        broker(url)

    assert "secret" not in str(refused.value)


def test_a_node_that_is_not_there_is_unavailable() -> None:
    async def story() -> None:
        with pytest.raises(Unavailable, match="out of reach") as refused:
            await broker("amqp://me:secret@127.0.0.1:1/").open(SystemEnvironment())
        assert "secret" not in str(refused.value)

    run(story())


@on_rabbitmq
def test_who_makes_a_topic_at_the_same_time_leaves_nothing_that_waits(
    world: RabbitMqWorld, rabbitmq_server: RabbitMqServer
) -> None:
    """Each leaves a mark, and only the first of them is where a group begins."""

    async def story() -> None:
        async with topic_on(world) as (connected, topic):
            await (await connected.subscribe(topic, GROUP, ALL)).close()
            async with await aio_pika.connect(rabbitmq_server.url) as line:
                channel = await line.channel()
                mark = aio_pika.Message(b"", headers={MARK: "begin"})
                await channel.default_exchange.publish(mark, f"{topic}/0")
            assert await connected.lag(topic, GROUP) == 0

            await publish(connected, event(topic, "k"))
            assert await connected.lag(topic, GROUP) == 1

    run(story())
