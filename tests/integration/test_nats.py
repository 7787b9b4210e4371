"""NATS JetStream where it is more than one server, or less than a disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from nats.js.errors import NotFoundError

import finality.testing
from finality.adapters.nats import subscription as subscriptions
from finality.adapters.nats.address import address_at
from finality.adapters.nats.broker import NatsBroker, broker
from finality.adapters.nats.line import Line
from finality.adapters.system.environment import SystemEnvironment
from finality.core.errors import DefinitionError, Unavailable
from tests.conformance.brokers.worlds import (
    bodies,
    by_key,
    events,
    patiently,
    publish,
    publish_patiently,
    run,
    sent_by_key,
    take,
    takes_no_more_than,
    topic_name,
)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("nats")]


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[NatsBroker]:
    connection = broker(url)
    await connection.open(SystemEnvironment())
    try:
        yield connection
    finally:
        await connection.close()


async def leader_of(url: str, topic: str) -> str:
    line = Line(address_at(url))
    await line.open()
    info = await line.streams.stream_info(topic)
    await line.close()
    assert info.cluster is not None
    return info.cluster.leader or ""


def test_a_cluster_that_loses_its_leader_loses_doubles_and_turns_around_nothing() -> None:
    async def story(cluster: finality.testing.NatsCluster) -> None:
        async with connected(cluster.url) as writer, connected(cluster.url) as reader:
            await patiently(lambda: writer.declare("orders", partitions=2), Unavailable)
            published = events("orders", 60, "a", "b", "c", "d")
            subscription = await patiently(lambda: reader.subscribe("orders", "stock", [0, 1]), Unavailable)
            await publish(writer, *published[:20])
            taken = await take(subscription, 20)
            await subscription.ack(taken)

            cluster.servers[await leader_of(cluster.url, "orders")].kill()
            for start in range(20, 60, 10):
                await publish_patiently(writer, published[start : start + 10])
            while len(taken) < 60:
                taken += await patiently(subscription.take, Unavailable)

            assert by_key(taken) == sent_by_key(published)
            stored = [each for n in (0, 1) async for each in reader.replay("orders", n)]
            assert by_key(stored) == sent_by_key(published)

    with finality.testing.nats(cluster=3) as cluster:
        run(story(cluster))


def test_what_memory_forgets_is_there_again_when_it_is_published_again() -> None:
    """The topic, too: its stream is gone with its server. Subscriptions go on."""

    async def story(server: finality.testing.NatsCluster) -> None:
        async with connected(server.url) as connection:
            topic = topic_name()
            await connection.declare(topic, partitions=2)
            async with connected(server.url.replace("storage=memory", "storage=file")) as doctor:
                bad = [check for check, is_good, _ in await doctor.health() if not is_good]
                assert bad == ["storage"], "the topics of others are looked at, too"
            published = events(topic, 4, "a", "b")
            subscription = await connection.subscribe(topic, "stock", [0, 1])
            await publish(connection, *published)
            await subscription.ack(await take(subscription, 4))
            await asyncio.to_thread(server.restart)
            line = Line(address_at(server.url))
            await line.open()
            with pytest.raises(NotFoundError):
                await line.streams.stream_info(topic.replace(".", "="))
            await line.close()

            await publish_patiently(connection, published)

            again: list[bytes] = []
            while len(again) < 4:
                again += bodies(await patiently(subscription.take, Unavailable))
            assert sorted(again) == sorted(each.data for each in published)

    with finality.testing.nats(storage="memory") as server:
        run(story(server))


def test_lines_that_are_cut_double_and_turn_around_nothing() -> None:
    """Once the answer to a batch is lost, once deliveries are: those wait at their consumer, for nobody."""

    async def story(server: finality.testing.NatsCluster) -> None:
        port = server.servers["n0"].port
        async with finality.testing.Proxy("127.0.0.1", port) as wire, AsyncExitStack() as lines:
            url = server.url.replace(str(port), str(wire.port))
            connection = await lines.enter_async_context(connected(url))
            topic = topic_name()
            await connection.declare(topic, partitions=1)
            published = events(topic, 12)
            wire.cut(b"Nats-Batch-Commit", is_heard=True)
            outcomes = await connection.publish(published[:6])
            assert {type(each) for each in outcomes} == {Unavailable}
            await publish_patiently(connection, published)
            subscription = await connection.subscribe(topic, "stock", [0])
            taken = await take(subscription, 2)
            wire.cut(b"CONSUMER.MSG.NEXT", is_heard=True)
            while len(taken) < len(published):
                taken += await patiently(subscription.take, Unavailable)

            assert bodies(taken) == [each.data for each in published]
            assert wire.cuts == 2

    with finality.testing.nats() as server:
        run(story(server))


def test_no_more_is_delivered_than_may_be_unacknowledged(
    finality_nats: finality.testing.NatsCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "UNACKNOWLEDGED_MAX", 3)

    async def story() -> None:
        async with connected(finality_nats.url) as connection:
            assert await takes_no_more_than(connection, 3)

    run(story())


@pytest.mark.parametrize(
    "url, problem",
    [
        ("nats://", "it names no server"),
        ("nats://host?replica=3", "no option is called 'replica'"),
        ("nats://host?replicas=0", "replicas=0 is no number from 1"),
        ("nats://host?storage=tape", "no storage is called 'tape'"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str, problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):
        broker(url)


def test_a_name_holds_no_password() -> None:
    address = address_at("nats://user:se%40cret@one:4222,two:4222?replicas=3")

    assert (address.name, address.login()) == (
        "nats://one:4222,two:4222",
        {"user": "user", "password": "se@cret"},
    )
