"""What was acknowledged can be read again from a position, where the broker can do so."""

from __future__ import annotations

import pytest

from finality.core.errors import DefinitionError
from finality.core.placement import partition_of
from tests.conformance.brokers.worlds import (
    ALL,
    GROUP,
    PARTITIONS,
    World,
    bodies,
    events,
    publish,
    run,
    take,
    topic_on,
)


def test_a_partition_is_read_again_from_a_position(world: World) -> None:
    async def story() -> None:
        async with topic_on(world) as (broker, topic):
            published = events(topic, 5, "k")
            partition = partition_of("k", PARTITIONS)
            await publish(broker, *published)
            subscription = await broker.subscribe(topic, GROUP, ALL)
            taken = await take(subscription, 5)
            await subscription.ack(taken)
            if not broker.capabilities.replays:
                with pytest.raises(DefinitionError):
                    [each async for each in broker.replay(topic, partition)]
                return

            everything = [each async for each in broker.replay(topic, partition)]
            behind = [each async for each in broker.replay(topic, partition, after=taken[2].position)]
            empty = [each async for each in broker.replay(topic, (partition + 1) % PARTITIONS)]
            end = [each async for each in broker.replay(topic, partition, after=taken[4].position)]

            assert [each.envelope for each in everything] == published
            assert [each.position for each in everything] == [each.position for each in taken]
            assert bodies(behind) == [each.data for each in published[3:]]
            assert (empty, end) == ([], [])
            assert await broker.lag(topic, GROUP) == 0

    run(story())
