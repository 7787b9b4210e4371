"""Dirty saga read.

An order of 80 is cancelled: the saga gives the customer's credit back and then asks the shop, which
says no, because the parcel has left. Before the credit is taken away again, another saga has read it
and sold goods for it. Now the customer owes 80 more than was ever allowed.

Countermeasure: the pessimistic view. What raises the credit stands behind the pivot, where nothing
can take it away again; a saga that says so and stands elsewhere is refused when its class is created.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import finality
from tests.anomalies.stage import WAITS, Stage, play
from tests.core.notation import declared

GO = finality.signal("go")
CREDIT = ("CREATE TABLE customers (id, credit)", "INSERT INTO customers VALUES (1, 20)")


@dataclass(frozen=True)
class CancelEagerly(finality.Saga):
    """Raises the credit first and asks later."""

    @finality.step
    def credit(self, tx: finality.SyncTx) -> None:
        tx.add("customers", {"id": 1}, credit=80)

    @credit.compensate
    def take_back(self, tx: finality.SyncTx) -> None:
        tx.add("customers", {"id": 1}, credit=-80)

    @finality.pivot(wait_for=GO)
    def cancelled(self, tx: finality.SyncTx, credit: None) -> None:
        raise finality.Refused("the parcel has left")


@dataclass(frozen=True)
class CancelPessimistically(finality.Saga):
    """Asks first; what raises the credit says so and stands behind the pivot."""

    has_left: bool

    @finality.pivot(wait_for=GO)
    def cancelled(self, tx: finality.SyncTx) -> None:
        if self.has_left:
            raise finality.Refused("the parcel has left")

    @finality.step(raises="credit")
    def credit(self, tx: finality.SyncTx, cancelled: None) -> None:
        tx.add("customers", {"id": 1}, credit=80)


@dataclass(frozen=True)
class Buy(finality.Saga):
    """Sells on credit."""

    amount: int

    @finality.step(lowers="credit")
    def credit(self, tx: finality.SyncTx) -> None:
        tx.add("customers", {"id": 1}, credit=-self.amount, at_least=0)

    @credit.compensate
    def give_back(self, tx: finality.SyncTx) -> None:
        tx.add("customers", {"id": 1}, credit=self.amount)


async def credit(stage: Stage) -> int:
    return int(await stage.scalar("SELECT credit FROM customers"))


async def cancel_and_buy(stage: Stage, cancel: finality.Saga) -> tuple[finality.Outcome, finality.Outcome]:
    await stage.prepare(*CREDIT)
    await stage.start(cancel, "cancel", until=WAITS)
    await stage.start(Buy(100), "buy")
    bought = await stage.node.outcome("buy")
    return bought, (await stage.go_on("cancel"))[0]


def test_credit_that_is_taken_back_again_was_spent_meanwhile(url: str) -> None:
    async def main(stage: Stage) -> None:
        bought, cancelled = await cancel_and_buy(stage, CancelEagerly())

        assert (bought.status, cancelled.status) == (finality.COMPLETED, finality.COMPENSATED)
        assert await credit(stage) == -80

    play(url, main)


def test_credit_that_may_be_taken_back_is_never_shown(url: str) -> None:
    async def main(stage: Stage) -> None:
        bought, cancelled = await cancel_and_buy(stage, CancelPessimistically(has_left=True))

        assert (bought.status, cancelled.status) == (finality.COMPENSATED, finality.COMPENSATED)
        assert await credit(stage) == 20

    play(url, main)


def test_credit_that_is_there_to_stay_can_be_spent(url: str) -> None:
    async def main(stage: Stage) -> None:
        _, cancelled = await cancel_and_buy(stage, CancelPessimistically(has_left=False))
        await stage.start(Buy(100), "buy again")

        assert cancelled == finality.COMPLETED
        assert await stage.node.outcome("buy again") == finality.COMPLETED
        assert await credit(stage) == 0

    play(url, main)


UNDO = "@a.compensate\ndef undo(self, tx): ..."
# fmt: off
MISPLACED = {
    "raised where it can be undone": (
        f"@step(raises='credit')\ndef a(self, tx): ...\n{UNDO}\n@pivot\ndef b(self, tx, a): ...",
        "step 'a' of BookTrip raises 'credit' and can still be undone: another saga could use what then is "
        "taken away again (a dirty read); let it need the pivot, or make it the pivot",
    ),
    "raised in a saga without a pivot": (
        f"@step(raises='credit')\ndef a(self, tx): ...\n{UNDO}",
        "step 'a' of BookTrip raises 'credit' and can still be undone: another saga could use what then is "
        "taken away again (a dirty read); let it need the pivot, or make it the pivot",
    ),
    "lowered behind the pivot": (
        "@pivot\ndef b(self, tx): ...\n@step(lowers='credit')\ndef a(self, tx, b): ...",
        "step 'a' of BookTrip lowers 'credit' behind the pivot: until then others see more than there will be"
        ", and it cannot be refused when there is not enough; let it come before the pivot",
    ),
    "lowered for ever": (
        "@step(lowers='credit')\ndef a(self, tx): ...\n@pivot\ndef b(self, tx, a): ...",
        "step 'a' of BookTrip lowers 'credit' and has no compensation: it would stay lowered when the saga "
        "is undone; give it one, or make it the pivot",
    ),
}
PLACED = {
    "raised behind it":    "@pivot\ndef b(self, tx): ...\n@step(raises='credit')\ndef a(self, tx, b): ...",
    "raised by the pivot":  "@pivot(raises='credit')\ndef b(self, tx): ...",
    "lowered by the pivot": "@pivot(lowers='credit')\ndef b(self, tx): ...",
    "lowered and undone":   f"@step(lowers='credit')\ndef a(self, tx): ...\n{UNDO}",
}
# fmt: on


@pytest.mark.parametrize("body, message", MISPLACED.values(), ids=MISPLACED)
def test_a_step_that_would_allow_the_anomaly_is_refused(body: str, message: str) -> None:
    with pytest.raises(finality.DefinitionError) as caught:
        declared(body)

    assert str(caught.value) == message


@pytest.mark.parametrize("body", PLACED.values(), ids=PLACED)
def test_a_step_that_stands_where_it_may_is_taken(body: str) -> None:
    assert declared(body).__name__ == "BookTrip"
