"""What the simulation has found, each in a world as small as can be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest

import finality
from finality.adapters.memory.store import MemoryHome
from finality.core.ids import NodeId
from finality.node.async_node import AsyncNode
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


@dataclass(frozen=True)
class Rested(finality.Saga):
    """Wakes up after a while."""

    @finality.step(wait_for=finality.timer(timedelta(seconds=10)))
    def woken(self, tx: finality.SyncTx) -> int:
        tx.execute("SELECT 1")
        return 1


def test_what_was_claimed_is_driven_though_the_store_is_out_of_reach_right_afterwards(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was in hand by its head and in nobody's hands, for as long as the node lived."""
    real = MemoryHome.next_wake
    claims: list[float] = []

    async def next_wake(home: MemoryHome, node: NodeId) -> float | None:
        is_claimed = any(
            head.kind == "Rested" and head.wake_at is None for head in await home.heads(is_open=True)
        )
        if is_claimed and world.now() > begun + 9 and not claims:
            claims.append(world.now())
            raise finality.Unavailable("the store is out of reach: the test says so")
        return await real(home, node)

    world = simulation([Rested])
    begun = world.now()
    node = world.open()
    monkeypatch.setattr(MemoryHome, "next_wake", next_wake)

    outcome = world.run(node.ask(lambda node: _outcome(node, Rested())), within=timedelta(hours=1))

    assert (outcome.status, len(claims)) == (finality.COMPLETED, 1)


async def _outcome(node: AsyncNode, saga: finality.Saga) -> finality.Outcome:
    return await (await node.start(saga)).outcome()
