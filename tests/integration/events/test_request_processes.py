"""Requests between processes that are killed: whoever asks once it has, whoever answers at its effect."""

from __future__ import annotations

import asyncio
import functools
import signal
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import finality
from finality.ports.environment import PUBLISH_AFTER, REACTION_AFTER
from tests.integration.events.kit import Placed
from tests.integration.events.log import Server
from tests.integration.events.test_reactions_over_servers import LEASE, START_SECONDS_MAX, Dying
from tests.integration.forks import PROCESSES
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


def number_of(topic: str, dying: Dying | None = None) -> finality.Reaction[..., Placed]:
    """Return a reaction that answers with a number; whoever dies of it does so behind its commit."""

    @finality.react(topic, by="stock")
    def number(tx: finality.SyncTx, placed: Placed) -> Placed:
        if placed.order == "o-2":
            raise finality.Refused("there is none")
        if dying is not None:
            dying.left = 0
        tx.execute("INSERT INTO effect VALUES (?)", placed.order)
        return Placed(placed.order, 7)

    return number


def test_a_request_outlives_kill_9_on_either_side(tmp_path: Path) -> None:
    """Other nodes of both homes end it all the same."""
    broker = url_of(tmp_path, "events")

    def opened(name: str, *reactions: Any) -> finality.AsyncNode:
        return finality.open_async(url_of(tmp_path, name), broker=broker, reactions=reactions, lease=LEASE)

    async def story() -> list[str]:
        async with finality.open_async(url_of(tmp_path, "stock")) as node:
            await table(node)
        with (
            process(tmp_path, SHOP, PUBLISH_AFTER, broker, "placed") as shop,
            process(tmp_path, STOCK, REACTION_AFTER, broker, "placed") as stock,
        ):
            assert (await asyncio.to_thread(shop.end))[0] == -signal.SIGKILL
            async with opened("home") as home:
                assert (await asyncio.to_thread(stock.end))[0] == -signal.SIGKILL
                async with opened("stock", number_of("placed")) as other:
                    assert await within(home.answer("placed", Placed)) == Placed("o-1", 7)
                    with pytest.raises(finality.DeadlinePassed):
                        await within(home.answer("void", Placed))
                    await eventually(functools.partial(_is_quiet, other))
                    return await effects(other)

    assert asyncio.run(story()) == ["o-1"]


def answer_and_die(store: str, broker: str, topic: str) -> None:
    """Answer until the environment kills this process."""
    dying = Dying()
    reactions = [number_of(topic, dying)]
    node = finality.open_async(store, broker=broker, reactions=reactions, environment=dying, lease=LEASE)
    asyncio.run(node.serve())


def test_over_each_server_whoever_answers_is_killed_behind_its_effect(server: Server, tmp_path: Path) -> None:
    topic, stock_url = f"asked-{uuid.uuid4().hex[:8]}", url_of(tmp_path, "stock")

    async def story() -> list[str]:
        def ask(order: str, to: str = topic, wait: timedelta = timedelta(minutes=5)) -> Any:
            asked = shop.request(to, Placed(order), answer=Placed, within=wait, id=order)
            return asyncio.ensure_future(within(asked))

        async with finality.open_async(stock_url) as node:
            await table(node)
        async with finality.open_async(url_of(tmp_path), broker=server.url) as shop:
            answered = ask("o-1")
            victim = PROCESSES.Process(target=answer_and_die, args=(stock_url, server.url, topic))
            victim.start()
            try:
                await asyncio.to_thread(victim.join, START_SECONDS_MAX)
                assert victim.exitcode == -signal.SIGKILL
            finally:
                victim.kill()
            async with finality.open_async(
                stock_url, broker=server.url, reactions=[number_of(topic)], lease=LEASE
            ) as stock:
                refused, expired = ask("o-2"), ask("o-3", f"{topic}-void", timedelta(seconds=0.3))
                assert await answered == Placed("o-1", 7)
                with pytest.raises(finality.Refused, match="there is none"):
                    await refused
                with pytest.raises(finality.DeadlinePassed):
                    await expired
                await eventually(functools.partial(_is_quiet, stock))
                return await effects(stock)

    assert asyncio.run(story()) == ["o-1"]


async def _is_quiet(node: finality.AsyncNode) -> bool:
    return not any((await node.health()).lags.values())
