"""Groups: each is given everything, and remembers for itself what it has done."""

from __future__ import annotations

import asyncio

import pytest

from finality.core.errors import DefinitionError, NotFound
from finality.ports.broker import Subscription
from tests.conformance.brokers.worlds import (
    ALL,
    GROUP,
    World,
    bodies,
    by_key,
    events,
    opened,
    publish,
    run,
    sent_by_key,
    take,
    takes_nothing,
    topic_name,
    topic_on,
    until,
)


def test_each_group_is_given_everything_from_the_oldest(world: World) -> None:
    async def story() -> None:
        async with topic_on(world) as (broker, topic), opened(world) as other:
            published = events(topic, 6, "a", "b")
            await publish(broker, *published)
            stock = await broker.subscribe(topic, GROUP, ALL)
            await stock.ack(await take(stock, 6))
            late = await other.subscribe(topic, "mail.late-comer", ALL)

            assert by_key(await take(late, 6)) == sent_by_key(published)
            assert await takes_nothing(stock)

    run(story())


def test_whoever_waits_is_woken(world: World) -> None:
    async def story() -> None:
        async with topic_on(world) as (broker, topic), opened(world) as other:
            subscription = await broker.subscribe(topic, GROUP, ALL)
            waiting = asyncio.create_task(take(subscription, 1))
            assert await takes_nothing(await broker.subscribe(topic, "others", ALL), 0.05)
            (sent,) = events(topic, 1)
            await publish(other, sent)

            assert bodies(await waiting) == [sent.data]

    run(story())


def test_partitions_share_the_keys_out(world: World) -> None:
    async def story() -> None:
        async with topic_on(world) as (broker, topic), opened(world) as other:
            published = events(topic, 64, *(f"k{n}" for n in range(32)))
            await publish(broker, *published)
            low = await broker.subscribe(topic, GROUP, [0, 1])
            high = await other.subscribe(topic, GROUP, [2, 3])
            of_low: list[bytes] = []
            of_high: list[bytes] = []

            async def read(subscription: Subscription, found: list[bytes], partitions: set[int]) -> None:
                while True:
                    deliveries = await subscription.take()
                    found += bodies(deliveries)
                    assert {each.partition for each in deliveries} <= partitions

            reading = [
                asyncio.create_task(read(low, of_low, {0, 1})),
                asyncio.create_task(read(high, of_high, {2, 3})),
            ]

            async def is_all_read() -> bool:
                return len(of_low) + len(of_high) >= 64

            await until(is_all_read)
            for task in reading:
                task.cancel()

            assert of_low
            assert of_high
            assert sorted(of_low + of_high) == sorted(each.data for each in published)

    run(story())


def test_lag_counts_what_a_group_has_not_acknowledged(world: World) -> None:
    async def story() -> None:
        async with topic_on(world) as (broker, topic):
            await publish(broker, *events(topic, 5, "a", "b"))
            assert await broker.lag(topic, GROUP) == 5
            subscription = await broker.subscribe(topic, GROUP, ALL)
            taken = await take(subscription, 5)
            assert await broker.lag(topic, GROUP) == 5
            await subscription.ack(taken)

            async def is_done() -> bool:
                return await broker.lag(topic, GROUP) == 0

            await until(is_done)
            assert await broker.lag(topic, "nobody-yet") == 5

    run(story())


def test_a_topic_that_was_not_declared_is_not_found(world: World) -> None:
    async def story() -> None:
        async with topic_on(world) as (broker, topic):
            with pytest.raises(NotFound, match="declare"):
                await broker.subscribe(topic_name(), GROUP, [0])
            with pytest.raises(DefinitionError, match="is no name for a consumer"):
                await broker.subscribe(topic, "a b", [0])

    run(story())
