"""Requests between processes that are killed: whoever asks once it has, whoever answers at its effect."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest

import finality
from finality.ports.environment import COMMIT_AFTER, PUBLISH_AFTER, REACTION_AFTER
from finality.testing import NatsCluster
from tests.integration.events.kit import Placed
from tests.integration.kit import effects, eventually, table, url_of, within
from tests.integration.processes import process

pytestmark = pytest.mark.slow

SHOP = """
from tests.integration.events.kit import Placed

environment = Dying(sys.argv[2], 1)
node = finality.open(URL, broker=sys.argv[3], environment=environment, lease=timedelta(seconds=1))
node.run(lambda tx: tx.request("void", Placed("o-1"), id="void", within=timedelta(seconds=0.5)))

def last(tx):
    environment.is_armed = True
    tx.request(sys.argv[4], Placed("o-1"), id="placed", within=timedelta(minutes=5))

node.run(last)
node.answer("placed", Placed)
"""
STOCK = """
from tests.integration.events.kit import Placed

environment = Dying(sys.argv[2], 1)
node = finality.open_async(
    f"sqlite:///{HERE}/stock.db", broker=sys.argv[3], environment=environment, lease=timedelta(seconds=1)
)

@node.react(sys.argv[4], by="stock")
def number(tx: finality.SyncTx, placed: Placed) -> Placed:
    environment.is_armed = True
    tx.execute("INSERT INTO effect VALUES (?)", placed.order)
    return Placed(placed.order, 7)

asyncio.run(node.serve())
"""


async def survived(folder: Path, broker: str, topic: str, shop_at: str, stock_at: str) -> list[str]:
    """Kill both sides; return the effects once other nodes of their homes have ended it all the same."""
    async with finality.open_async(url_of(folder, "stock")) as node:
        await table(node)
    with (
        process(folder, SHOP, shop_at, broker, topic) as shop,
        process(folder, STOCK, stock_at, broker, topic) as stock,
    ):
        assert (await asyncio.to_thread(shop.end))[0] == -signal.SIGKILL
        async with AsyncExitStack() as stack:

            async def opened(name: str) -> finality.AsyncNode:
                again = finality.open_async(url_of(folder, name), broker=broker, lease=timedelta(seconds=1))
                return await stack.enter_async_context(again)

            home = await opened("home")
            assert (await asyncio.to_thread(stock.end))[0] == -signal.SIGKILL
            other = await opened("stock")

            @other.react(topic, by="stock")
            def number(tx: finality.SyncTx, placed: Placed) -> Placed:
                tx.execute("INSERT INTO effect VALUES (?)", placed.order)
                return Placed(placed.order, 7)

            await other.opened()

            assert await within(home.answer("placed", Placed)) == Placed("o-1", 7)
            with pytest.raises(finality.DeadlinePassed):
                await within(home.answer("void", Placed))

            async def is_quiet() -> bool:
                return not any((await other.health()).lags.values())

            await eventually(is_quiet)
            return await effects(other)


def test_a_request_outlives_kill_9_on_either_side(tmp_path: Path) -> None:
    broker = f"sqlite:///{tmp_path}/events.db"
    found = asyncio.run(survived(tmp_path, broker, "placed", PUBLISH_AFTER, REACTION_AFTER))

    assert found == ["o-1"]


@pytest.mark.xdist_group("nats")
def test_over_nats_it_is_the_same_also_before_it_was_sent(tmp_path: Path, finality_nats: NatsCluster) -> None:
    found = asyncio.run(survived(tmp_path, finality_nats.url, "request-kill-9", COMMIT_AFTER, COMMIT_AFTER))

    assert found == ["o-1"]
