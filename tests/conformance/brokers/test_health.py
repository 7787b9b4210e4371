"""A setting that breaks a promise is found."""

from __future__ import annotations

from finality.adapters.system.environment import SystemEnvironment
from tests.conformance.brokers.kinds import only
from tests.conformance.brokers.worlds import World, opened, run


@only("is_durable")
def test_a_broker_that_is_set_up_well_is_healthy(world: World) -> None:
    async def story() -> None:
        async with opened(world) as broker:
            findings = await broker.health()
            assert findings
            assert [each for each in findings if not each[1]] == []

    run(story())


def test_a_setting_that_breaks_a_promise_is_found(world: World) -> None:
    async def story() -> None:
        for word in world.unsafe:
            broker = world.misset(word)
            await broker.open(SystemEnvironment())
            try:
                bad = [each for each in await broker.health() if not each[1]]
                assert any(word in " ".join((check, finding)) for check, _, finding in bad), (word, bad)
            finally:
                await broker.close()

    run(story())
