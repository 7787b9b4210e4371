"""What a group has done does not come again, and what it has not done does."""

from __future__ import annotations

import asyncio
import time

from finality.core.envelope import Envelope
from finality.ports.broker import PARKED_BECAUSE, Broker, parked, parked_topic
from tests.conformance.brokers.worlds import (
    ALL,
    GROUP,
    World,
    bodies,
    event,
    events,
    opened,
    publish,
    run,
    take,
    takes_nothing,
    topic_on,
)


def test_what_is_acknowledged_does_not_come_again(world: World) -> None:
    """In whatever order it was; and what was taken and not acknowledged comes at once, in order."""

    async def story() -> None:
        async with topic_on(world) as (broker, topic):
            published = events(topic, 8)
            async with opened(world) as first:
                await publish(first, *published)
                subscription = await first.subscribe(topic, GROUP, ALL)
                taken = await take(subscription, 6)
                await subscription.ack([taken[4], taken[0]])
                await subscription.ack([taken[1]])
            subscription = await broker.subscribe(topic, GROUP, ALL)
            again = await take(subscription, 5)

            assert bodies(again) == [published[n].data for n in (2, 3, 5, 6, 7)]
            if broker.capabilities.counts_deliveries:
                assert [each.attempt for each in again] == [2, 2, 2, 1, 1]
            await subscription.ack(again)
            assert await takes_nothing(subscription)

    run(story())


def test_a_partition_is_handed_over(world: World) -> None:
    async def story() -> None:
        async with topic_on(world) as (broker, topic), opened(world) as other:
            published = events(topic, 4)
            await publish(broker, *published)
            left = await broker.subscribe(topic, GROUP, ALL)
            taken = await take(left, 2)
            await left.ack(taken[:1])
            await left.close()
            right = await other.subscribe(topic, GROUP, ALL)

            assert bodies(await take(right, 3)) == [each.data for each in published[1:]]
            assert await left.take() == []

    run(story())


def test_an_acknowledgement_may_be_repeated(world: World) -> None:
    async def story() -> None:
        async with topic_on(world) as (broker, topic):
            first, second = events(topic, 2)
            await publish(broker, first, second)
            subscription = await broker.subscribe(topic, GROUP, ALL)
            taken = await take(subscription, 2)
            await subscription.ack([])
            await subscription.ack(taken[:1])
            await subscription.ack(taken)
            await subscription.close()

            assert await takes_nothing(await broker.subscribe(topic, GROUP, ALL))

    run(story())


def test_what_is_given_back_comes_later(world: World) -> None:
    async def story() -> None:
        async with topic_on(world) as (broker, topic):
            first, second = events(topic, 2)
            await publish(broker, first, second)
            subscription = await broker.subscribe(topic, GROUP, ALL)
            taken = await take(subscription, 2)
            began = time.monotonic()
            await subscription.retry_later(taken[0], 0.2)
            await subscription.ack(taken[1:])
            (again,) = await take(subscription, 1)

            assert again.envelope == first
            assert time.monotonic() - began >= 0.19
            if broker.capabilities.counts_deliveries:
                assert again.attempt == 2
            await subscription.ack([again])
            await subscription.close()
            assert await takes_nothing(await broker.subscribe(topic, GROUP, ALL))

    run(story())


def test_what_is_parked_waits_on_a_topic_of_its_own(world: World) -> None:
    async def story() -> None:
        async with topic_on(world) as (broker, topic):
            bad = event(topic, "k", correlation_id="trip-42", extensions={"tenant": "42"})
            await publish(broker, bad)
            subscription = await broker.subscribe(topic, GROUP, ALL)
            (taken,) = await take(subscription, 1)
            await subscription.park(taken, "it failed 20 times,\n last with ValueError('näh')")
            await subscription.close()

            assert await takes_nothing(await broker.subscribe(topic, GROUP, ALL))
            aside = await broker.subscribe(parked_topic(topic, GROUP), "people", [0])
            (found,) = await take(aside, 1)
            assert found.envelope == parked(bad, GROUP, "it failed 20 times, last with ValueError('näh')")
            assert found.envelope.extensions[PARKED_BECAUSE].startswith("it failed 20 times, last")

    run(story())


def test_a_take_that_is_cancelled_loses_nothing(world: World) -> None:
    async def story() -> None:
        async with topic_on(world) as (broker, topic), opened(world) as other:
            subscription = await broker.subscribe(topic, GROUP, ALL)
            published = events(topic, 40)
            found: list[bytes] = []
            sending = asyncio.create_task(_publish_slowly(other, published))
            began = time.monotonic()
            patience = 0.0
            while len(found) < len(published):
                assert time.monotonic() - began < 30, f"{len(found)} of {len(published)} came"
                patience = (patience + 0.0007) % 0.05
                taking = asyncio.create_task(subscription.take())
                done, _ = await asyncio.wait([taking], timeout=patience)
                if not done:
                    taking.cancel()
                    await asyncio.wait([taking])
                if not taking.cancelled():
                    found += bodies(taking.result())
            await sending

            assert found == [each.data for each in published]

    run(story())


async def _publish_slowly(broker: Broker, published: list[Envelope]) -> None:
    for each in published:
        await publish(broker, each)


def test_a_take_that_waits_ends_when_the_subscription_is_closed(world: World) -> None:
    async def story() -> None:
        async with topic_on(world) as (broker, topic):
            subscription = await broker.subscribe(topic, GROUP, ALL)
            waiting = asyncio.create_task(subscription.take())
            assert await takes_nothing(await broker.subscribe(topic, "others", ALL), 0.02)
            await subscription.close()
            async with asyncio.timeout(5):
                assert await waiting == []
            await subscription.close()

    run(story())
