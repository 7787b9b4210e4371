"""A setting that breaks a promise is found."""

from __future__ import annotations

from finality.adapters.system.environment import SystemEnvironment
from finality.ports.broker import Broker
from tests.conformance.brokers.kinds import only
from tests.conformance.brokers.worlds import World, opened, patiently, run


async def failing(broker: Broker) -> list[str]:
    """Return the checks that a broker does not pass, each with what was found."""
    return [" ".join((check, finding)) for check, is_good, finding in await broker.health() if not is_good]


@only("is_durable")
def test_a_broker_that_is_set_up_well_is_healthy(world: World) -> None:
    async def story() -> None:
        async with opened(world) as broker:

            async def is_healthy() -> None:
                assert await broker.health()
                assert await failing(broker) == []

            await patiently(is_healthy, AssertionError)  # A server may take a setting after its answer.

    run(story())


def test_a_setting_that_breaks_a_promise_is_found(world: World) -> None:
    async def story() -> None:
        for word in world.unsafe:
            broker = world.misset(word)
            await broker.open(SystemEnvironment())

            async def is_found(broker: Broker = broker, word: str = word) -> None:
                found = await failing(broker)
                assert any(word in each for each in found), (word, found)

            try:
                await patiently(is_found, AssertionError)
            finally:
                await broker.close()

    run(story())
