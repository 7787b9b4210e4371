"""Fuzzy (non-repeatable) read.

A saga sees that the price is 10 and reserves the goods. While the customer confirms, the price becomes
12. The saga charges the 10 that it saw: it has acted on what is no longer true.

Countermeasure: the reread value. The pivot looks again, and a price that has changed undoes the saga.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import finality
from tests.anomalies.stage import WAITS, Stage, play

GO = finality.signal("go")
SHOP = (
    "CREATE TABLE goods (sku, price, photo)",
    "CREATE TABLE bills (price)",
    "CREATE TABLE reserved (sku)",
    "INSERT INTO goods VALUES ('tea', 10, x'00'), ('twin', 1, NULL), ('twin', 1, NULL)",
)
DEARER = "UPDATE goods SET price = 12 WHERE sku = 'tea'"
GONE = "DELETE FROM goods WHERE sku = 'tea'"


@dataclass(frozen=True)
class Trusting(finality.Saga):
    """Charges what it saw."""

    @finality.step
    def price(self, tx: finality.SyncTx) -> int:
        return int(tx.execute("SELECT price FROM goods WHERE sku = 'tea'").scalar())

    @finality.pivot(wait_for=GO)
    def bill(self, tx: finality.SyncTx, price: int) -> None:
        tx.execute("INSERT INTO bills VALUES (?)", price)


@dataclass(frozen=True)
class Rereading(finality.Saga):
    """Looks again before it charges."""

    @finality.step
    def goods(self, tx: finality.SyncTx) -> finality.Seen:
        tx.execute("INSERT INTO reserved VALUES ('tea')")
        return tx.see("goods", {"sku": "tea"}, "price")

    @goods.compensate
    def release(self, tx: finality.SyncTx) -> None:
        tx.execute("DELETE FROM reserved")

    @finality.pivot(wait_for=GO)
    def bill(self, tx: finality.SyncTx, goods: finality.Seen) -> None:
        tx.reread(goods)
        tx.execute("INSERT INTO bills VALUES (?)", goods["price"])


@dataclass(frozen=True)
class RereadingAsync(finality.Saga):
    """The same in async steps."""

    @finality.step
    async def goods(self, tx: finality.Tx) -> finality.Seen:
        return await tx.see("goods", {"sku": "tea"}, "price")

    @finality.pivot(wait_for=GO)
    async def bill(self, tx: finality.Tx, goods: finality.Seen) -> None:
        await tx.reread(goods)
        await tx.execute("INSERT INTO bills VALUES (?)", goods["price"])


async def buy(stage: Stage, saga: finality.Saga, *meanwhile: str) -> finality.Outcome:
    await stage.prepare(*SHOP)
    await stage.start(saga, "buy", until=WAITS)
    await stage.prepare(*meanwhile)
    return (await stage.go_on("buy"))[0]


def test_a_price_that_has_changed_meanwhile_is_charged(url: str) -> None:
    async def main(stage: Stage) -> None:
        assert await buy(stage, Trusting(), DEARER) == finality.COMPLETED
        assert await stage.node.query("SELECT price FROM bills") == [(10,)]
        assert await stage.scalar("SELECT price FROM goods WHERE sku = 'tea'") == 12

    play(url, main)


ANEW = "decide anew, in a new saga"
# fmt: off
CHANGES = {
    "dearer": (DEARER, f"price of goods(sku='tea') was 10 when the saga saw it and is 12 now: {ANEW}"),
    "gone":   (GONE,   f"goods(sku='tea') is gone since the saga saw it: {ANEW}"),
}
# fmt: on


@pytest.mark.parametrize("meanwhile, because", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("saga", [Rereading(), RereadingAsync()], ids=["def", "async"])
def test_a_saga_that_looks_again_is_undone(
    url: str, saga: finality.Saga, meanwhile: str, because: str
) -> None:
    async def main(stage: Stage) -> None:
        outcome = await buy(stage, saga, meanwhile)

        assert (outcome.status, outcome.because) == (finality.COMPENSATED, because)
        assert await stage.node.query("SELECT * FROM bills") == []
        assert await stage.node.query("SELECT * FROM reserved") == []

    play(url, main)


def test_what_was_not_looked_at_may_change(url: str) -> None:
    async def main(stage: Stage) -> None:
        assert await buy(stage, Rereading(), "UPDATE goods SET photo = x'01'") == finality.COMPLETED
        assert await stage.node.query("SELECT price FROM bills") == [(10,)]

    play(url, main)


def test_a_row_that_was_not_there_can_be_seen_and_reread(url: str) -> None:
    """A row that appears meanwhile is a phantom, and as good a reason to turn back."""

    async def main(stage: Stage) -> None:
        await stage.prepare(*SHOP)
        seen = await stage.node.run(lambda tx: tx.see("goods", {"sku": "milk"}, "price"))

        assert not seen
        with pytest.raises(LookupError, match=r"there was no goods\(sku='milk'\), so it has no price"):
            seen["price"]

        await stage.node.run(lambda tx: tx.reread(seen))
        await stage.prepare("INSERT INTO goods VALUES ('milk', 1, NULL)")

        with pytest.raises(finality.Changed, match=r"goods\(sku='milk'\) is there now and was not"):
            await stage.node.run(lambda tx: tx.reread(seen))

    play(url, main)


def test_what_cannot_be_kept_or_told_apart_is_not_seen() -> None:
    async def main(stage: Stage) -> None:
        await stage.prepare(*SHOP)
        with pytest.raises(TypeError, match=r"photo of goods\(sku='tea'\): it holds bytes"):
            await stage.node.run(lambda tx: tx.see("goods", {"sku": "tea"}, "photo"))
        with pytest.raises(LookupError, match="there are 2 such rows"):
            await stage.node.run(lambda tx: tx.see("goods", {"sku": "twin"}, "price"))
        with pytest.raises(ValueError, match="no column of goods is named"):
            await stage.node.run(lambda tx: tx.see("goods", {"sku": "tea"}))

        seen = await stage.node.run(lambda tx: tx.see("goods", {"sku": "tea"}, "price"))

        with pytest.raises(LookupError, match="photo of goods"):
            seen["photo"]

    play("memory://", main)
