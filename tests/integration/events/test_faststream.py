"""FastStream's subscribers with the inbox around them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import pytest
from faststream import Context
from faststream.nats import NatsBroker, TestNatsBroker

import finality
from finality.core.errors import DefinitionError

InTransaction = Annotated[finality.Tx, Context("tx")]
CE = {"ce-id": "e-1", "ce-source": "/shop"}


@asynccontextmanager
async def shop(folder: Path) -> AsyncIterator[tuple[finality.AsyncNode, NatsBroker]]:
    """Give a node with a table of orders, and a broker with its inbox."""
    async with finality.open_async(f"sqlite:///{folder / 'shop.db'}") as node:
        await node.run(lambda tx: tx.execute("CREATE TABLE orders (id TEXT)"))
        yield node, NatsBroker(middlewares=[finality.faststream(node, by="stock")])


async def orders(node: finality.AsyncNode) -> list[str]:
    return [id for (id,) in await node.query("SELECT id FROM orders")]


def test_an_event_takes_effect_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path) as (node, broker):

            @broker.subscriber("orders")
            async def placed(id: str, tx: InTransaction) -> None:
                await tx.execute("INSERT INTO orders VALUES (?)", id)
                await tx.publish("shelves", id)

            async with TestNatsBroker(broker) as nats:
                for headers in (CE, CE, {**CE, "ce-source": "/other"}, {"message_id": "m-1"}):
                    await nats.publish("o-1", "orders", headers=headers)
                await nats.publish("o-2", "orders", headers={"message_id": "m-1"})

            assert await orders(node) == ["o-1", "o-1", "o-1"]
            assert len(await (await node.outbox()).events()) == 3

    asyncio.run(story())


def test_an_event_whose_subscriber_fails_may_come_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path) as (node, broker):
            fails = [True]

            @broker.subscriber("orders")
            async def placed(id: str, tx: InTransaction) -> None:
                await tx.execute("INSERT INTO orders VALUES (?)", id)
                if fails.pop():
                    raise RuntimeError("the shelf is stuck")

            async with TestNatsBroker(broker) as nats:
                with pytest.raises(RuntimeError, match="the shelf is stuck"):
                    await nats.publish("o-1", "orders", headers=CE)
                assert await orders(node) == []
                fails.append(False)
                await nats.publish("o-1", "orders", headers=CE)
                await nats.publish("o-1", "orders", headers=CE)  # Nobody is called: there is nothing to pop.

            assert await orders(node) == ["o-1"]

    asyncio.run(story())


def test_an_event_without_an_id_is_refused(tmp_path: Path) -> None:
    """FastStream would make one up, another at each delivery."""

    async def story() -> None:
        async with shop(tmp_path) as (node, broker):

            @broker.subscriber("orders")
            async def placed(id: str, tx: InTransaction) -> None:
                await tx.execute("INSERT INTO orders VALUES (?)", id)

            async with TestNatsBroker(broker) as nats:
                with pytest.raises(DefinitionError, match="no id by which the inbox"):
                    await nats.publish("o-1", "orders", headers={"ce-source": "/shop"})

            assert await orders(node) == []

    asyncio.run(story())


def test_consumers_know_an_event_each_for_itself(tmp_path: Path) -> None:
    async def story() -> None:
        async with shop(tmp_path) as (node, _):
            for by in ("stock", "mail"):
                broker = NatsBroker(middlewares=[finality.faststream(node, by=by)])

                @broker.subscriber("orders")
                async def placed(id: str, tx: InTransaction) -> None:
                    await tx.execute("INSERT INTO orders VALUES (?)", id)

                async with TestNatsBroker(broker) as nats:
                    await nats.publish("o-1", "orders", headers=CE)

            assert await orders(node) == ["o-1", "o-1"]

    asyncio.run(story())
