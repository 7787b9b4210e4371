"""What the simulation has found, each in a world as small as can be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import finality
from finality.testing import World

Simulation = Callable[..., World]

runs: list[str] = []


@dataclass(frozen=True)
class Slow(finality.Saga):
    """One async step in the home store, which takes its time before its first statement."""

    @finality.step
    async def thought(self, tx: finality.Tx) -> int:
        runs.append("thought")
        await asyncio.sleep(1.0)
        await tx.execute("SELECT 1")
        return 1


def test_an_async_step_that_was_cancelled_elsewhere_is_not_asked_again(simulation: Simulation) -> None:
    """Its answer no longer counts; it was asked again and again until the node next looked around."""
    runs.clear()
    world = simulation([Slow])
    driver, other = world.open(), world.open()

    async def live() -> finality.Outcome:
        handle = await driver.ask(lambda node: node.start(Slow(), id="slow"))
        await asyncio.sleep(0.995)
        await other.ask(lambda node: node.cancel(handle.id, because="a test"))
        return await driver.ask(lambda node: node.outcome(handle.id))

    outcome = world.run(live())

    assert (outcome.status, runs) == (finality.COMPENSATED, ["thought"])
