"""Phantom reservation.

Two sagas look whether seat 12A is free: neither finds a reservation, because there is none yet to find.
Each goes on to its payment and then writes one. The seat is sold twice. There was no row that both had
read, so nothing that compares rows could have seen the conflict coming.

Countermeasures: a semantic lock names what is not there yet; or the absence that was seen is reread.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import finality
from finality.core.saga import events as e
from tests.anomalies.stage import WAITS, Stage, play

GO = finality.signal("go")
PATIENT = finality.Retry(attempts=None, first_seconds=0.01, factor=1.0)
SEATS = "CREATE TABLE reservations (seat, passenger)"


def look(tx: finality.SyncTx, seat: str) -> None:
    if tx.execute("SELECT 1 FROM reservations WHERE seat = ?", seat):
        raise finality.Refused(f"{seat} is taken")


@dataclass(frozen=True)
class Hopeful(finality.Saga):
    """Looks, and reserves later."""

    passenger: str

    @finality.step
    def free(self, tx: finality.SyncTx) -> None:
        look(tx, "12A")

    @finality.pivot(wait_for=GO)
    def reserved(self, tx: finality.SyncTx, free: None) -> None:
        tx.execute("INSERT INTO reservations VALUES ('12A', ?)", self.passenger)


@dataclass(frozen=True)
class Locking(finality.Saga):
    """Locks the seat, looks, and reserves later."""

    passenger: str

    @finality.step(retry=PATIENT)
    def free(self, tx: finality.SyncTx) -> None:
        tx.lock("seat/12A")
        look(tx, "12A")

    @finality.pivot(wait_for=GO)
    def reserved(self, tx: finality.SyncTx, free: None) -> None:
        tx.execute("INSERT INTO reservations VALUES ('12A', ?)", self.passenger)


@dataclass(frozen=True)
class Rereading(finality.Saga):
    """Looks again when it reserves: whoever comes first gets the seat."""

    passenger: str

    @finality.step
    def free(self, tx: finality.SyncTx) -> finality.Seen:
        return tx.see("reservations", {"seat": "12A"}, "passenger")

    @finality.pivot(wait_for=GO)
    def reserved(self, tx: finality.SyncTx, free: finality.Seen) -> None:
        tx.reread(free)
        tx.execute("INSERT INTO reservations VALUES ('12A', ?)", self.passenger)


async def sold(stage: Stage) -> list[str]:
    return [name for (name,) in await stage.node.query("SELECT passenger FROM reservations")]


def test_a_seat_is_sold_twice_when_nothing_stands_for_it(url: str) -> None:
    async def main(stage: Stage) -> None:
        await stage.prepare(SEATS)
        await stage.start(Hopeful("ann"), "ann", until=WAITS)
        await stage.start(Hopeful("bea"), "bea", until=WAITS)

        assert await stage.go_on("ann", "bea") == [finality.COMPLETED, finality.COMPLETED]
        assert await sold(stage) == ["ann", "bea"]

    play(url, main)


def test_a_semantic_lock_stands_for_the_seat(url: str) -> None:
    async def main(stage: Stage) -> None:
        await stage.prepare(SEATS)
        await stage.start(Locking("ann"), "ann", until=WAITS)
        await stage.start(Locking("bea"), "bea", until=e.StepFailed)

        assert await stage.go_on("ann") == [finality.COMPLETED]
        assert (await stage.node.outcome("bea")).because == "12A is taken"
        assert await sold(stage) == ["ann"]

    play(url, main)


@pytest.mark.parametrize("first, second", [("ann", "bea"), ("bea", "ann")])
def test_an_absence_that_is_reread_is_one_for_the_first_only(url: str, first: str, second: str) -> None:
    async def main(stage: Stage) -> None:
        await stage.prepare(SEATS)
        await stage.start(Rereading("ann"), "ann", until=WAITS)
        await stage.start(Rereading("bea"), "bea", until=WAITS)

        assert await stage.go_on(first, second) == [finality.COMPLETED, finality.COMPENSATED]
        assert await sold(stage) == [first]

    play(url, main)
