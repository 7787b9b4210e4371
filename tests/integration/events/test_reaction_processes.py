"""Reactions in processes of their own: killed between effect and acknowledgement, paused beyond a lease."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

import finality
from finality.ports.environment import COMMIT_AFTER, REACTION_AFTER
from tests.integration.events.kit import TOPIC, Placed, place
from tests.integration.events.planted_inbox import BETWEEN
from tests.integration.kit import effects, eventually, table, url_of
from tests.integration.processes import pause, process

pytestmark = pytest.mark.slow

EVENTS = 12
NODE = """
from tests.integration.events.kit import TOPIC, Placed
from tests.integration.events.test_reaction_processes import Noted
from tests.integration.events.planted_inbox import plant

if "planted" in sys.argv:
    plant()
environment = Dying(sys.argv[2], int(sys.argv[3]))
node = finality.open_async(
    URL, broker=f"sqlite:///{HERE}/events.db", environment=environment, lease=timedelta(seconds=1.0)
)

@node.react(TOPIC, by="stock", publish="noted")
def note(tx: finality.SyncTx, placed: Placed) -> Noted:
    environment.is_armed = True
    tx.execute("INSERT INTO effect VALUES (?)", placed.order)
    return Noted(placed.order)

@node.react("slow", by="stock", publish="noted")
async def note_slowly(tx: finality.Tx, placed: Placed) -> Noted:
    if "pausing" in sys.argv:
        mark("inside")
        while not (HERE / "go").exists():
            await asyncio.sleep(0.01)
    await tx.execute("INSERT INTO effect VALUES (?)", placed.order)
    mark("left")
    return Noted(placed.order)

asyncio.run(node.serve())
"""


@dataclass(frozen=True)
class Noted:
    order: str


@finality.react(TOPIC, by="stock", publish="noted")
def note(tx: finality.SyncTx, placed: Placed) -> Noted:
    tx.execute("INSERT INTO effect VALUES (?)", placed.order)
    return Noted(placed.order)


@finality.react("slow", by="stock", publish="noted")
async def note_slowly(tx: finality.Tx, placed: Placed) -> Noted:
    await tx.execute("INSERT INTO effect VALUES (?)", placed.order)
    return Noted(placed.order)


async def survivors(folder: Path, point: str, times: int, *arguments: str) -> tuple[list[str], list[str]]:
    """Kill a node at a point, passed so often, and let another one go on; return effects and answers."""
    broker = f"sqlite:///{folder}/events.db"
    async with finality.open_async(url_of(folder), broker=broker) as node:
        await table(node)
        await place(node, *(f"o-{number}" for number in range(EVENTS)))
    with process(folder, NODE, point, str(times), *arguments) as victim:
        assert (await asyncio.to_thread(victim.end))[0] == -signal.SIGKILL
    async with finality.open_async(
        url_of(folder), broker=broker, reactions=[note], lease=timedelta(seconds=1)
    ) as node:

        async def all_there() -> bool:
            lags = (await node.health()).lags
            return not any(lags.values()) and len({*await effects(node)}) == EVENTS

        await eventually(all_there)
        answers = await node.query("SELECT aggregateid FROM finality_outbox WHERE type = 'Noted'")
        return await effects(node), [row[0] for row in answers]


@pytest.mark.parametrize("point", [REACTION_AFTER, COMMIT_AFTER])
def test_a_consumer_killed_between_effect_and_acknowledgement_leaves_one_effect(
    tmp_path: Path, point: str
) -> None:
    noted, answers = asyncio.run(survivors(tmp_path, point, 3))

    assert sorted(noted) == sorted({*noted})
    assert sorted(answers) == sorted(noted)


def test_an_inbox_outside_the_transaction_is_caught(tmp_path: Path) -> None:
    """The planted bug: effect and witness are two commits, and the node dies between them."""
    noted, _ = asyncio.run(survivors(tmp_path, BETWEEN, 1, "planted"))

    assert len(noted) > len({*noted})


def test_a_node_that_was_paused_beyond_its_lease_leaves_no_second_effect(tmp_path: Path) -> None:
    broker = f"sqlite:///{tmp_path}/events.db"

    async def scenario() -> list[str]:
        async with finality.open_async(url_of(tmp_path), broker=broker) as node:
            await table(node)
            async with node.transaction() as tx:
                await tx.publish("slow", Placed("o-1"), key="k")
        with process(tmp_path, NODE, "none", "1", "pausing") as paused:
            await eventually(lambda: paused.marked("inside"))
            await pause(paused)
            async with finality.open_async(
                url_of(tmp_path), broker=broker, reactions=[note_slowly], lease=timedelta(seconds=1)
            ) as node:

                async def is_done() -> bool:
                    return await effects(node) == ["o-1"]

                await eventually(is_done)
                (tmp_path / "go").touch()
                paused.send(signal.SIGCONT)
                await eventually(lambda: paused.marked("left"))
                paused.send(signal.SIGTERM)
                assert (await asyncio.to_thread(paused.end))[0] == 0
                return await effects(node)

    assert asyncio.run(scenario()) == ["o-1"]
