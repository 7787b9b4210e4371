"""The broker in memory where it is alone: simulated time, threads, and what it forgets."""

from __future__ import annotations

import asyncio
import threading

import pytest

from finality.adapters.memory import topics as memory_topics
from finality.adapters.memory.broker import MemoryBroker
from finality.adapters.memory.topics import MemoryTopics
from finality.core.errors import Unavailable
from finality.testing.loop import new_loop
from tests.conformance.brokers.worlds import bodies, event, events, publish, take


def test_a_simulated_consumer_that_is_killed_leaves_its_events_to_the_next() -> None:
    """And what is given back for an hour comes when an hour of simulated time has passed."""
    loop = new_loop(7)
    topics = MemoryTopics("simulated")
    published = events("orders", 3)
    dead = loop.process("dead")
    found: list[bytes] = []

    async def die() -> None:
        broker = MemoryBroker(topics)
        await broker.declare("orders", partitions=1)
        subscription = await broker.subscribe("orders", "stock", [0])
        await publish(broker, *published)
        taken = await subscription.take(2)
        await subscription.ack(taken[:1])
        dead.kill()
        await asyncio.sleep(0)
        await subscription.ack(taken)  # It never comes to this.

    async def live() -> None:
        await asyncio.sleep(1.0)  # Of simulated time.
        assert dead.is_dead
        subscription = await MemoryBroker(topics).subscribe("orders", "stock", [0])
        taken = await take(subscription, 2)
        assert [each.attempt for each in taken] == [2, 1]
        began = loop.time()
        await subscription.retry_later(taken[0], 3_600.0)
        await subscription.ack(taken[1:])
        taken += await subscription.take()
        assert loop.time() - began >= 3_600.0
        found.extend(bodies(taken))

    dead.spawn(die())
    loop.run_until_complete(loop.process("alive").spawn(live()))
    loop.close()

    assert found == [published[1].data, published[2].data, published[1].data]


def test_nodes_on_several_threads_share_a_name() -> None:
    is_waiting, found = threading.Event(), []

    async def wait() -> None:
        broker = MemoryBroker("threads")
        await broker.declare("orders", partitions=1)
        subscription = await broker.subscribe("orders", "stock", [0])
        asyncio.get_running_loop().call_later(0.01, is_waiting.set)
        found.extend(bodies(await subscription.take()))

    keeper = MemoryBroker("threads")
    thread = threading.Thread(target=lambda: asyncio.run(wait()))
    thread.start()
    assert is_waiting.wait(10)
    sent = event("orders")
    asyncio.run(publish(keeper, sent))
    thread.join(10)

    assert found == [sent.data]


def test_what_nobody_needs_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_topics, "RETAINED_EVENTS_MAX", 10)

    async def story() -> None:
        broker = MemoryBroker()
        await broker.declare("orders", partitions=1)
        behind = await broker.subscribe("orders", "behind", [0])
        await publish(broker, *events("orders", 60))
        assert len([each async for each in broker.replay("orders", 0)]) == 60
        await behind.ack(await behind.take(55))
        await publish(broker, *events("orders", 1))

        kept = [each.position async for each in broker.replay("orders", 0)]
        assert kept == [str(n) for n in range(52, 62)]
        assert [each.position for each in await behind.take()] == [str(n) for n in range(56, 62)]

    asyncio.run(story())


def test_a_group_that_stopped_holds_up_who_publishes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_topics, "PARTITION_EVENTS_MAX", 5)

    async def story() -> None:
        broker = MemoryBroker()
        await broker.declare("orders", partitions=1)
        outcomes = await broker.publish(events("orders", 6))

        assert outcomes[:5] == [None] * 5
        assert isinstance(outcomes[5], Unavailable)
        assert "start what reads it" in str(outcomes[5])

    asyncio.run(story())
