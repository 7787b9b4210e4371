"""Publishing: what is stored, what is not, and the order within a key."""

from __future__ import annotations

import asyncio

import pytest

from finality.core.errors import DefinitionError, Unavailable
from finality.core.placement import partition_of
from finality.ports.broker import PUBLISH_EVENTS_MAX, Rejected
from tests.conformance.brokers.worlds import (
    ALL,
    GROUP,
    PARTITIONS,
    World,
    bodies,
    by_key,
    event,
    events,
    opened,
    publish,
    run,
    sent_by_key,
    take,
    takes_nothing,
    topic_name,
    topic_on,
)


def test_an_event_comes_as_it_was_published(world: World) -> None:
    async def story() -> None:
        async with topic_on(world) as (broker, topic):
            full = event(
                topic, "käy-1", bytes(range(256)),
                source="https://shop.test/a b", type="shop.Plåced", time=1_700_000_000.123456,
                content_type="application/msgpack", correlation_id="trip-42", causation_id="e-0",
                traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                extensions={"tenant": "42", "note": "ünïcode, 50% \"quoted\""},
            )  # fmt: skip
            bare = event(topic, "", b"")
            await publish(broker, full, bare)

            subscription = await broker.subscribe(topic, GROUP, ALL)
            taken = await take(subscription, 2)

            assert {each.envelope.id: each.envelope for each in taken} == {full.id: full, bare.id: bare}

    run(story())


def test_a_key_lands_on_its_partition_and_keeps_its_order(world: World) -> None:
    async def story() -> None:
        async with topic_on(world) as (broker, topic):
            keys = [f"k{n}" for n in range(16)]
            published = events(topic, PUBLISH_EVENTS_MAX, *keys)
            await publish(broker, *published)

            taken = await take(await broker.subscribe(topic, GROUP, ALL), PUBLISH_EVENTS_MAX)

            assert by_key(taken) == sent_by_key(published)
            assert all(each.partition == partition_of(each.envelope.key, PARTITIONS) for each in taken)

    run(story())


def test_batches_at_once_keep_the_order_of_their_keys(world: World) -> None:
    async def story() -> None:
        async with topic_on(world) as (broker, topic):
            batches = [events(topic, 60, f"k{n}") for n in range(4)]
            await asyncio.gather(*(publish(broker, *batch) for batch in batches))

            taken = await take(await broker.subscribe(topic, GROUP, ALL), 240)

            assert by_key(taken) == sent_by_key([each for batch in batches for each in batch])

    run(story())


def test_what_is_too_large_is_rejected_alone(world: World) -> None:
    """Behind it nothing of its key is stored, and its neighbours are."""

    async def story() -> None:
        async with topic_on(world) as (broker, topic):
            a, b, c, d = (event(topic, key) for key in "abca")
            large = event(topic, "a", bytes(broker.capabilities.event_bytes_max + 1))
            outcomes = await broker.publish([a, b, large, c, d])
            rejected = outcomes[2]

            assert isinstance(rejected, Rejected), rejected
            assert large.id in str(rejected)
            assert isinstance(outcomes[4], Unavailable), outcomes[4]
            assert [outcomes[0], outcomes[1], outcomes[3]] == [None, None, None]
            subscription = await broker.subscribe(topic, GROUP, ALL)
            assert by_key(await take(subscription, 3)) == sent_by_key([a, b, c])
            await publish(broker, d)  # A relay does so, once it has parked what was rejected.
            assert bodies(await take(subscription, 1)) == [d.data]

    run(story())


@pytest.mark.parametrize("name", ["", "a b", "a..b", ".a", "a/b", "a*", "x" * 101, "ä"])
def test_a_topic_whose_name_is_none_is_refused(world: World, name: str) -> None:
    async def story() -> None:
        async with topic_on(world) as (broker, topic):
            with pytest.raises(DefinitionError, match="is no name for a topic"):
                await broker.declare(name)
            good = event(topic, "k")
            outcomes = await broker.publish([event(name, "k"), good])

            assert isinstance(outcomes[0], Rejected), outcomes[0]
            assert outcomes[1] is None
            assert bodies(await take(await broker.subscribe(topic, GROUP, ALL), 1)) == [good.data]

    run(story())


def test_a_topic_keeps_its_partitions(world: World) -> None:
    async def story() -> None:
        async with topic_on(world) as (broker, topic), opened(world) as other:
            assert await broker.declare(topic, partitions=PARTITIONS + 3) == PARTITIONS
            assert await other.declare(topic, partitions=1) == PARTITIONS
            longest = (topic_name() + "-" + "x" * 100)[:100]
            assert await broker.declare(longest, partitions=1) == 1

    run(story())


def test_what_is_published_again_is_stored_once(world: World) -> None:
    """Where the broker claims so; elsewhere the inbox behind it knows the event again."""

    async def story() -> None:
        async with topic_on(world) as (broker, topic):
            first, second, third = events(topic, 3)
            await publish(broker, first, second)
            await publish(broker, first, second, third)
            await publish(broker, third._replace())

            subscription = await broker.subscribe(topic, GROUP, ALL)
            once = bodies([*await take(subscription, 3)])
            if broker.capabilities.drops_repeats:
                assert once == [first.data, second.data, third.data]
                assert await takes_nothing(subscription)
            else:
                more = bodies(await take(subscription, 3))
                assert once + more == [each.data for each in (first, second, first, second, third, third)]

    run(story())
