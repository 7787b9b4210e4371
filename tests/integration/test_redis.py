"""Redis and Valkey where there are replicas, or too little of something."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

import pytest
import redis

import finality.testing
from finality.adapters.redis import publish as publishing
from finality.adapters.redis import subscription as subscriptions
from finality.adapters.redis.address import address_at
from finality.adapters.redis.broker import RedisBroker, broker
from finality.adapters.redis.wire import stream_key
from finality.adapters.system.environment import SystemEnvironment
from finality.core.errors import DefinitionError, Unavailable
from tests.conformance.brokers.worlds import (
    bodies,
    events,
    patiently,
    publish,
    publish_patiently,
    run,
    take,
    takes_no_more_than,
    topic_name,
    until,
)

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("redis")]


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[RedisBroker]:
    connection = broker(url)
    await connection.open(SystemEnvironment())
    try:
        yield connection
    finally:
        await connection.close()


def test_an_event_that_too_few_replicas_have_is_not_stored_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is when it is published again and they have it, once."""
    monkeypatch.setattr(publishing, "REPLICAS_SECONDS_MAX", 0.1)

    async def story(primary: finality.testing.ValkeyServer, replica: finality.testing.ValkeyServer) -> None:
        async with connected(f"{primary.url}?wait=1") as connection:
            topic = topic_name()
            await connection.declare(topic, partitions=1)
            published = events(topic, 4)
            await publish_patiently(connection, published[:2])  # The replica joins in the meantime.
            assert [each for each in await connection.health() if not each[1]] == []
            replica.kill()

            outcomes = await connection.publish(published[2:])
            assert {type(each) for each in outcomes} == {Unavailable}

            async def is_missed() -> bool:
                return any("0 replicas are connected" in found for _, _, found in await connection.health())

            await until(is_missed)
            await asyncio.to_thread(replica.start)
            await publish_patiently(connection, published[2:])
            stored = [each async for each in connection.replay(topic, 0)]
            assert bodies(stored) == [each.data for each in published]

    with ExitStack() as servers:
        primary = servers.enter_context(finality.testing.valkey(settings={"repl-diskless-sync-delay": "0"}))
        settings = {"replicaof": f"127.0.0.1 {primary.port}"}
        run(story(primary, servers.enter_context(finality.testing.valkey(settings=settings))))


def test_what_a_server_without_a_file_forgets_is_there_again_when_it_is_published_again() -> None:
    async def story(server: finality.testing.ValkeyServer) -> None:
        async with connected(server.url) as connection:
            topic = topic_name()
            await connection.declare(topic, partitions=2)
            published = events(topic, 4, "a", "b")
            subscription = await connection.subscribe(topic, "stock", [0, 1])
            await publish(connection, *published)
            await subscription.ack(await take(subscription, 4))
            await asyncio.to_thread(server.restart)

            await publish_patiently(connection, published)

            again: list[bytes] = []
            while len(again) < 4:
                again += bodies(await patiently(subscription.take, Unavailable))
            assert sorted(again) == sorted(each.data for each in published)

    with finality.testing.valkey(settings={"appendonly": "no"}) as server:
        run(story(server))


def test_what_a_reader_of_old_was_given_is_found(
    finality_valkey: finality.testing.ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that was paused may read once more before it sees that its lease has gone."""
    for name in ("SWEEP_SECONDS", "SWEEP_IDLE_SECONDS", "BLOCK_SECONDS"):
        monkeypatch.setattr(subscriptions, name, 0.1)

    async def story() -> None:
        async with connected(finality_valkey.url) as connection:
            topic = topic_name()
            await connection.declare(topic, partitions=1)
            subscription = await connection.subscribe(topic, "stock", [0])
            (stolen,) = events(topic, 1)
            await publish(connection, stolen)
            with redis.Redis.from_url(finality_valkey.url, protocol=2) as old:
                assert old.xreadgroup("stock", "finality", {stream_key(topic, 0): ">"})

            (found,) = await take(subscription, 1)
            assert (found.envelope, found.attempt) == (stolen, 2)

    run(story())


def test_no_more_is_read_than_may_be_unacknowledged(
    finality_valkey: finality.testing.ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriptions, "UNACKNOWLEDGED_MAX", 3)

    async def story() -> None:
        async with connected(finality_valkey.url) as connection:
            assert await takes_no_more_than(connection, 3)

    run(story())


def test_events_that_are_too_old_go(finality_valkey: finality.testing.ValkeyServer) -> None:
    async def story() -> None:
        async with connected(f"{finality_valkey.url}?keep=60") as connection:
            topic = topic_name()
            await connection.declare(topic, partitions=1)
            with redis.Redis.from_url(finality_valkey.url) as other:
                for number in range(1, 301):
                    other.xadd(stream_key(topic, 0), {"body": b"old"}, id=f"{number}-0")
                await publish(connection, *events(topic, 1))

                # Redis drops whole nodes of a hundred entries.
                assert other.xlen(stream_key(topic, 0)) <= 101

    run(story())


def test_a_part_of_a_cluster_is_refused() -> None:
    async def story(url: str) -> None:
        with pytest.raises(DefinitionError, match="part of a Redis Cluster"):
            await broker(url).open(SystemEnvironment())

    with finality.testing.valkey(settings={"cluster-enabled": "yes"}) as server:
        run(story(server.url))


@pytest.mark.parametrize(
    "url, problem",
    [
        ("redis:///0", "it names no server"),
        ("redis://host?replicas=1", "no option is called 'replicas'"),
        ("redis://host?wait=-1", "wait=-1 is no whole number"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str, problem: str) -> None:
    with pytest.raises(DefinitionError, match=problem):
        broker(url)


def test_a_name_holds_no_password() -> None:
    assert address_at("valkey://user:secret@one/3?wait=1").name == "valkey://one:6379/3"
