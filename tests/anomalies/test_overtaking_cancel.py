"""Overtaking cancel.

A payment is authorised on a card and cancelled a moment later. The two travel on different ways, and
the cancel is faster: it finds no hold to release, does nothing and is done. Then the authorisation
arrives and holds the money of a payment that nobody will ever make.

Countermeasure: a version file. Each operation records itself under its number, the cancel too, and
an operation that has been overtaken knows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import pytest

import finality
from tests.anomalies.stage import Stage, play

HOLDS = ("CREATE TABLE cards (id, held)", "INSERT INTO cards VALUES (7, 0)")


@dataclass(frozen=True)
class Authorise(finality.Saga):
    """Holds money, whatever came before."""

    @finality.pivot
    def held(self, tx: finality.SyncTx) -> None:
        tx.add("cards", {"id": 7}, held=100)


@dataclass(frozen=True)
class Cancel(finality.Saga):
    """Releases the hold, if there is one."""

    @finality.pivot
    def released(self, tx: finality.SyncTx) -> None:
        if tx.execute("SELECT held FROM cards WHERE id = 7").scalar():
            tx.add("cards", {"id": 7}, held=-100)


@dataclass(frozen=True)
class AuthoriseInOrder(finality.Saga):
    """Holds money unless the cancel has overtaken it."""

    @finality.pivot
    def held(self, tx: finality.SyncTx) -> bool:
        arrival = tx.version_file("payment/1").record("authorise", number=1)
        if arrival.is_current:
            tx.add("cards", {"id": 7}, held=100)
        return arrival.is_current


@dataclass(frozen=True)
class CancelInOrder(finality.Saga):
    """Releases the hold of an authorisation that has arrived; stops the one that has not."""

    @finality.pivot
    async def released(self, tx: finality.Tx) -> bool:
        arrival = await tx.version_file("payment/1").record("cancel", number=2)
        if arrival.is_current and arrival.preceded_by == "authorise":
            await tx.add("cards", {"id": 7}, held=-100)
        return arrival.is_current


async def held_after(stage: Stage, *sagas: finality.Saga) -> int:
    await stage.prepare(*HOLDS)
    for number, saga in enumerate(sagas):
        await stage.start(saga, f"arrival-{number}")
        assert await stage.node.outcome(f"arrival-{number}") == finality.COMPLETED
    return int(await stage.scalar("SELECT held FROM cards"))


def test_money_is_held_for_ever_when_the_cancel_comes_first(url: str) -> None:
    async def main(stage: Stage) -> None:
        assert await held_after(stage, Cancel(), Authorise()) == 100

    play(url, main)


@pytest.mark.parametrize("arriving", sorted(set(permutations("aacc"))), ids="".join)
def test_no_money_is_held_in_whatever_order_and_however_often_they_arrive(arriving: tuple[str, ...]) -> None:
    async def main(stage: Stage) -> None:
        sagas = [AuthoriseInOrder() if each == "a" else CancelInOrder() for each in arriving]

        assert await held_after(stage, *sagas) == 0

    play("memory://", main)


def test_what_has_arrived_is_told_in_the_order_that_was_meant(url: str) -> None:
    async def main(stage: Stage) -> None:
        def write(tx: finality.SyncTx) -> list[finality.Arrival]:
            file = tx.version_file("card/7")
            return [
                file.record("cancel", number=9),
                file.record("authorise", number=1),
                file.record("raise", number=5),
                file.record("raise", number=5),
            ]

        arrivals = await stage.node.run(write)

        assert arrivals == [
            finality.Arrival(9, "cancel", is_repeated=False, preceded_by=None, overtaken_by=None),
            finality.Arrival(1, "authorise", is_repeated=False, preceded_by=None, overtaken_by="cancel"),
            finality.Arrival(5, "raise", is_repeated=False, preceded_by="authorise", overtaken_by="cancel"),
            finality.Arrival(5, "raise", is_repeated=True, preceded_by="authorise", overtaken_by="cancel"),
        ]

        async with stage.node.transaction() as tx:
            assert await tx.version_file("card/8").operations() == []
            assert await tx.version_file("card/7").operations() == [
                (1, "authorise"),
                (5, "raise"),
                (9, "cancel"),
            ]

            await tx.version_file("card/7").forget()

        assert await stage.node.run(lambda tx: tx.version_file("card/7").operations()) == []

    play(url, main)


def test_a_number_stands_for_one_operation() -> None:
    async def main(stage: Stage) -> None:
        await stage.node.run(lambda tx: tx.version_file("card/7").record("cancel", number=2))
        with pytest.raises(
            finality.Refused, match="has recorded 'cancel' as number 2, so 'authorise' cannot be it"
        ):
            await stage.node.run(lambda tx: tx.version_file("card/7").record("authorise", number=2))

    play("memory://", main)


def test_what_is_aborted_has_not_arrived(url: str) -> None:
    async def main(stage: Stage) -> None:
        def write(tx: finality.SyncTx) -> None:
            tx.version_file("card/7").record("authorise", number=1)
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            await stage.node.run(write)

        assert await stage.node.run(lambda tx: tx.version_file("card/7").operations()) == []

    play(url, main)
