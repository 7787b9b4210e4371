"""`finality event`: what a person sees of events that were put aside, and does about them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import finality
from finality.adapters.memory.broker import MemoryBroker
from finality.cli.command_line import run_command_line
from tests.integration.kit import eventually, url_of


@dataclass(frozen=True)
class Placed:
    order: str


class Shop:
    """A node whose stock is empty at first, and the command line beside it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.url = url_of(folder)
        self.broker = MemoryBroker(str(folder))
        self.shipped: list[str] = []
        self.stock, self.tried = 0, 0
        self._capsys = capsys

    async def cli(self, *arguments: str, group: str = "event") -> str:
        """Run a command as its own loop would; return what it says."""
        status = await asyncio.to_thread(run_command_line, [group, *arguments, "--store", self.url])
        said = self._capsys.readouterr()
        assert (status, said.err) == (0, ""), said
        return said.out

    async def data(self, *arguments: str) -> Any:
        """Run a command with --json; return what it answers."""
        return json.loads(await self.cli(*arguments, "--json"))

    async def doctor(self) -> str:
        """Return what the doctor says."""
        arguments = ["doctor", "--store", self.url, "--broker", self.broker.name]
        await asyncio.to_thread(run_command_line, arguments)
        return self._capsys.readouterr().out

    def node(self) -> finality.AsyncNode:
        """Return a node that ships orders."""
        node = finality.open_async(self.url, broker=self.broker)

        @node.react("orders", by="shop")
        def ship(tx: finality.SyncTx, placed: Placed) -> None:
            self.tried += 1
            if not self.stock:
                raise finality.Refused("out of stock")
            self.stock -= 1
            self.shipped.append(placed.order)

        return node


def said_of(event: dict[str, Any]) -> str:
    """Return what the inbox knows an event by."""
    return f"{event['source']}#{event['id']}"


def test_a_person_looks_after_parked_events(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop = Shop(tmp_path, capsys)

    async def scenario() -> None:
        async with shop.node() as node:
            for order in ("a1", "a2", "b1"):
                async with node.transaction() as tx:
                    await tx.publish("orders", Placed(order), key=order[0])

            async def parked() -> bool:
                return len(await node.inbox.parked()) == 3

            await eventually(parked)
            listed = await shop.data("list", "--consumer", "shop", "--topic", "orders")
            by_order = {each["data"]["order"]: each for each in listed}
            assert {order: each["waits_for"] for order, each in by_order.items()} == {
                "a1": "person",
                "a2": "behind",
                "b1": "person",
            }
            doctor = await shop.doctor()
            assert "2 events of shop wait for a person" in doctor
            assert "shop/orders has 0 events before it" in doctor
            table = await shop.cli("list")
            assert "NUMBER" in table
            assert "out of stock" in table
            first = str(by_order["a1"]["number"])
            shown = await shop.cli("show", first)
            assert "a Placed on orders, is parked by shop" in shown
            assert f'finality event retry {first} --because "…"' in shown
            assert (await shop.data("show", by_order["a1"]["id"]))["because"] == "out of stock"

            await shop.cli("retry", first, "--because", "maybe now", "--by", "ann")
            await eventually(lambda: shop.tried == 3)
            assert "retry asked by ann: maybe now" in await shop.cli("show", first)
            shop.stock = 2
            said = await shop.cli("retry", first, "--because", "restocked")
            assert said == f"event {first} is tried again\n"
            await eventually(lambda: shop.shipped == ["a1", "a2"])
            discarded = await shop.data("discard", by_order["b1"]["id"], "--because", "gave up")
            assert discarded["number"] == by_order["b1"]["number"]
            assert await shop.data("list") == []
            tail = await shop.cli(
                "tail", "--stream", f"inbox/shop/{said_of(by_order['b1'])}", group="journal"
            )
            assert tail.rstrip().endswith(f"discarded: event {said_of(by_order['b1'])}; gave up")

            replay = ("replay", "orders", "--broker", shop.broker.name, "--because", "sure?")
            assert await shop.data(*replay, "--consumer", "shop") == {"again": 0, "too_old": 0}
            assert await shop.data(*replay, "--consumer", "mail", "--since", "2020-01-01") == {
                "again": 3,
                "too_old": 0,
            }
            assert shop.shipped == ["a1", "a2"]
            tail = await shop.cli("tail", "--stream", "inbox/mail", group="journal")
            assert "replay asked: topic orders; since 2020-01-01 00:00:00; sure?" in tail

    asyncio.run(scenario())


def test_an_event_that_is_not_parked_is_not_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop = Shop(tmp_path, capsys)

    async def scenario() -> None:
        async with shop.node():
            status = await asyncio.to_thread(run_command_line, ["event", "show", "7", "--store", shop.url])
        assert status == 1
        assert "no parked event is meant by '7': none is called so, see `finality event list`" in (
            capsys.readouterr().err
        )

    asyncio.run(scenario())
