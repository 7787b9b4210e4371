"""Consumers and brokers die at any time: nothing is lost, and whoever waits hears of it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

import pytest

from finality.core.envelope import Envelope
from finality.core.errors import FinalityError, Unavailable
from finality.ports.broker import Delivery, Subscription
from tests.conformance.brokers.consumer import live_and_die
from tests.conformance.brokers.kinds import only
from tests.conformance.brokers.worlds import (
    ALL,
    GROUP,
    PATIENCE_SECONDS,
    World,
    bodies,
    by_key,
    events,
    opened,
    patiently,
    publish,
    publish_patiently,
    run,
    take,
    topic_on,
    until,
)
from tests.integration.forks import PROCESSES


def killed_consumer(world: World, topic: str, takes: int, acks: int, done: Path) -> list[bytes]:
    """Let a consumer live and die; return what it has acknowledged."""
    consumer = PROCESSES.Process(target=live_and_die, args=(world.code(), topic, takes, acks, done))
    consumer.start()
    consumer.join(2 * PATIENCE_SECONDS)
    status = consumer.exitcode
    consumer.kill()
    assert status == -signal.SIGKILL
    return done.read_bytes().splitlines()


@only("is_shared")
@pytest.mark.slow
def test_a_consumer_that_is_killed_leaves_to_others_what_it_has_not_acknowledged(
    world: World, tmp_path: Path
) -> None:
    async def story() -> None:
        async with topic_on(world) as (broker, topic):
            published = events(topic, 6)
            await publish(broker, *published)
            done = await asyncio.to_thread(killed_consumer, world, topic, 4, 2, tmp_path / "done")
            assert done == [each.data for each in published[:2]]
            again = await take(await broker.subscribe(topic, GROUP, ALL), 4)

            assert bodies(again) == [each.data for each in published[2:]]
            if broker.capabilities.counts_deliveries:
                assert [each.attempt for each in again] == [2, 2, 1, 1]

    run(story())


@only("can_die")
@pytest.mark.slow
def test_a_broker_that_is_killed_loses_nothing_that_it_acknowledged(world: World) -> None:
    """While it is away whoever asks hears so; when it is back the same connection goes on."""

    async def story() -> None:
        async with topic_on(world) as (broker, topic), opened(world) as reader:
            published = events(topic, 40, "a", "b", "c")
            await publish(broker, *published[:20])
            subscription = await reader.subscribe(topic, GROUP, ALL)
            done = await take(subscription, 5)
            await subscription.ack(done)
            world.kill()
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    outcomes = await broker.publish(published[20:])
                assert {type(each) for each in outcomes} == {Unavailable}
                with pytest.raises(Unavailable):
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        await broker.lag(topic, GROUP)
            finally:
                await asyncio.to_thread(world.start)
            await publish_patiently(broker, published[20:])
            found = await _everything(subscription, {each.id for each in published})

            assert found >= {each.id for each in published} - {each.envelope.id for each in done}

    run(story())


async def _everything(subscription: Subscription, ids: set[str]) -> set[str]:
    """Return the ids that come until all of them have, or nothing more does."""
    found: set[str] = set()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(found) < len(ids) - 5:
                taken = await patiently(subscription.take, Unavailable)
                found |= {each.envelope.id for each in taken}
                with contextlib.suppress(FinalityError):  # It may not have heard; the inbox would know.
                    await subscription.ack(taken)
    return found


@only("can_die")
@pytest.mark.slow
def test_a_broker_that_is_away_is_unavailable(world: World) -> None:
    async def story() -> None:
        world.kill()
        try:
            with pytest.raises(Unavailable):
                async with asyncio.timeout(PATIENCE_SECONDS), opened(world):
                    pass
        finally:
            await asyncio.to_thread(world.start)

    run(story())


@only("can_die")
@pytest.mark.slow
def test_a_broker_that_is_killed_while_it_stores_keeps_what_it_acknowledged_in_order(world: World) -> None:
    """Several publish, each keys of its own; afterwards each publishes again what it was not sure of."""

    async def story() -> None:
        async with topic_on(world) as (broker, topic), opened(world) as reader:
            batches = {key: events(topic, 60, key) for key in "abcd"}
            stored: set[str] = set()

            async def write(published: list[Envelope]) -> list[Envelope]:
                while published:
                    sent = published[:5]
                    outcomes = await broker.publish(sent)
                    done = {each.id for each, outcome in zip(sent, outcomes, strict=True) if outcome is None}
                    stored.update(done)
                    published = [each for each in published if each.id not in done]
                    if len(done) < len(sent):
                        break
                return published

            writing = [asyncio.create_task(write(published)) for published in batches.values()]
            await until(lambda: _holds(len(stored) >= 40))
            world.kill()
            left = await asyncio.gather(*writing)
            await asyncio.to_thread(world.start)
            for published in left:
                await publish_patiently(broker, published)
            subscription = await patiently(lambda: reader.subscribe(topic, GROUP, ALL), FinalityError)
            taken: list[Delivery] = []
            wanted = {each.id for published in batches.values() for each in published}
            async with asyncio.timeout(PATIENCE_SECONDS):
                while wanted - {each.envelope.id for each in taken}:
                    taken += await patiently(subscription.take, Unavailable)

            firsts = {key: [*dict.fromkeys(found)] for key, found in by_key(taken).items()}
            assert firsts == {key: [each.data for each in published] for key, published in batches.items()}
            if broker.capabilities.drops_repeats:
                assert len(taken) == len(wanted)

    run(story())


async def _holds(fact: bool) -> bool:
    return fact
