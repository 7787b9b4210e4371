"""A node that was given no broker has one beside its store, as soon as something reacts to events."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

import finality
from finality.adapters.system.environment import SystemEnvironment
from finality.core.envelope import Envelope
from finality.node.brokers import broker_at
from finality.node.doctor import examine
from finality.node.finding import Level
from finality.testing import PostgresServer
from tests.integration.kit import url_of, within


@dataclass(frozen=True)
class Placed:
    order: str


class Seen:
    """What a reaction has seen, and a way to wait for more."""

    def __init__(self) -> None:
        self.orders: list[str] = []
        self._more = asyncio.Event()

        @finality.react("orders", by="stock")
        async def placed(tx: finality.Tx, placed: Placed) -> None:
            self.orders.append(placed.order)
            self._more.set()

        self.reaction = placed

    async def until(self, count: int) -> None:
        """Wait until it has seen so many."""
        async with asyncio.timeout(30):
            while len(self.orders) < count:
                self._more.clear()
                await self._more.wait()


def test_events_wait_in_the_outbox_until_something_reacts(tmp_path: Path) -> None:
    """Nodes without reactions make no file, and need not know of it."""
    file = tmp_path / "home.db-events"

    async def publish(url: str, order: str) -> None:
        async with finality.open_async(url) as node:
            await node.run(lambda tx: tx.publish("orders", Placed(order)))
            assert all(check.store != f"sqlite:///{file}" for check in (await node.health()).checks)

    async def story() -> None:
        await publish(url_of(tmp_path), "o-1")
        assert not file.exists()

        seen = Seen()
        async with finality.open_async(url_of(tmp_path), reactions=[seen.reaction]) as node:
            await seen.until(1)
            assert file.exists()
            assert any(check.store.endswith(file.name) for check in (await node.health()).checks)
            await publish(url_of(tmp_path), "o-2")
            await seen.until(2)

        assert seen.orders == ["o-1", "o-2"]
        findings = await examine(url_of(tmp_path))
        assert [each.level for each in findings if each.check == "broker: durability"] == [Level.OK]

    asyncio.run(story())


def test_nodes_in_memory_share_a_broker_as_they_share_a_home() -> None:
    async def story() -> None:
        seen = Seen()
        async with (
            finality.open_async("memory://default-broker") as shop,
            finality.open_async("memory://default-broker", reactions=[seen.reaction]),
        ):
            await shop.run(lambda tx: tx.publish("orders", Placed("o-1")))
            await seen.until(1)

        assert seen.orders == ["o-1"]

    asyncio.run(story())


@pytest.mark.slow
@pytest.mark.xdist_group("postgres")
def test_a_node_on_postgresql_has_to_be_given_one(finality_postgres: PostgresServer) -> None:
    async def story() -> None:
        async with finality.open_async(finality_postgres.database(), reactions=[Seen().reaction]):
            raise AssertionError("it has opened")

    with pytest.raises(finality.DefinitionError, match="this node has none: open it with broker="):
        asyncio.run(story())


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_whoever_lost_a_partition_to_another_subscriber_hears_of_it(kind: str, tmp_path: Path) -> None:
    """The other may have let go since, and would not read it any more."""

    async def story() -> None:
        broker = broker_at("memory://taken" if kind == "memory" else f"sqlite:///{tmp_path}/events.db")
        await broker.open(SystemEnvironment())
        partitions = range(await broker.declare("orders"))
        holder = await broker.subscribe("orders", "stock", partitions)
        taking = asyncio.ensure_future(holder.take())
        late = await broker.subscribe("orders", "stock", partitions[:1])
        await broker.publish([Envelope("1", "test", "Placed", "orders", b"{}", key="k")])
        await late.close()

        while taken := await within(taking):
            assert all(each.partition not in partitions[:1] for each in taken)
            taking = asyncio.ensure_future(holder.take())
        await holder.close()
        again = await broker.subscribe("orders", "stock", partitions)
        assert [each.envelope.id for each in await within(again.take())] == ["1"]
        await broker.close()

    asyncio.run(story())
