"""Risk that is treated alike.

A shop lets every purchase through at once and has it looked at afterwards, which is right for a book and
ruinous for a car. Or it has a person approve each book.

Countermeasure: by value. The amount chooses the saga when it starts: a plain one, or a careful one.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import pytest

import finality
from tests.anomalies.stage import WAITS, Stage, play

SOLD = "CREATE TABLE sold (amount)"


@dataclass(frozen=True)
class Buy(finality.Saga):
    """Sells at once."""

    amount: int

    @finality.pivot
    def sold(self, tx: finality.SyncTx) -> None:
        tx.execute("INSERT INTO sold VALUES (?)", self.amount)


@dataclass(frozen=True)
class BuyApproved(finality.Saga):
    """Sells once a person has said yes."""

    amount: int

    @finality.step(wait_for=finality.signal("go"))
    def approved(self, tx: finality.SyncTx, go: bool) -> None:
        if not go:
            raise finality.Refused("not approved")

    @finality.pivot
    def sold(self, tx: finality.SyncTx, approved: None) -> None:
        tx.execute("INSERT INTO sold VALUES (?)", self.amount)


def purchase(amount: int) -> Buy | BuyApproved:
    return finality.by_value(amount, 1_000, below=Buy, above=BuyApproved)(amount)


async def sold(stage: Stage) -> list[int]:
    return [amount for (amount,) in await stage.node.query("SELECT amount FROM sold")]


def test_a_car_is_sold_like_a_book_when_every_purchase_is_plain(url: str) -> None:
    async def main(stage: Stage) -> None:
        await stage.prepare(SOLD)
        for amount in (10, 50_000):
            await stage.start(Buy(amount), f"buy-{amount}")

            assert await stage.node.outcome(f"buy-{amount}") == finality.COMPLETED

        assert await sold(stage) == [10, 50_000]

    play(url, main)


def test_a_book_is_sold_at_once_and_a_car_when_it_is_approved(url: str) -> None:
    async def main(stage: Stage) -> None:
        await stage.prepare(SOLD)
        await stage.start(purchase(10), "book")
        await stage.start(purchase(50_000), "car", until=WAITS)

        assert await stage.node.outcome("book") == finality.COMPLETED
        assert await sold(stage) == [10]

        await stage.node.signal("car", "go", value=False)

        assert await stage.node.outcome("car") == finality.COMPENSATED
        assert await sold(stage) == [10]

    play(url, main)


# fmt: off
CHOICES = [
    (999,             1_000,           "below"),
    (1_000,           1_000,           "above"),
    (1_001,           1_000,           "above"),
    (Decimal("0.10"), Decimal("0.11"), "below"),
    (float("nan"),    1_000,           "above"),
]
# fmt: on


@pytest.mark.parametrize("amount, limit, chosen", CHOICES)
def test_what_reaches_the_limit_or_cannot_be_compared_is_treated_with_care(
    amount: Decimal, limit: Decimal, chosen: str
) -> None:
    assert finality.by_value(amount, limit, below="below", above="above") == chosen
