"""Write skew between two sagas.

Two doctors are on call and one has to stay. Each asks to be relieved: her saga counts the others who
are on call, finds one, and takes her off in a later step. Each writes another row, so neither conflicts
with the other, and nobody is on call.

Countermeasure: a semantic lock on what both decide about, the shift.
"""

from __future__ import annotations

from dataclasses import dataclass

import finality
from finality.core.saga import events as e
from tests.anomalies.stage import WAITS, Stage, play

GO = finality.signal("go")
PATIENT = finality.Retry(attempts=None, first_seconds=0.01, factor=1.0)
SHIFT = ("CREATE TABLE shift (doctor)", "INSERT INTO shift VALUES ('ann'), ('bea')")
OTHERS = "SELECT count(*) FROM shift WHERE doctor <> ?"


@dataclass(frozen=True)
class Relieve(finality.Saga):
    """Looks, and takes the doctor off later."""

    doctor: str

    @finality.step
    def others(self, tx: finality.SyncTx) -> int:
        others = int(tx.execute(OTHERS, self.doctor).scalar())
        if others == 0:
            raise finality.Refused("one has to stay")
        return others

    @finality.pivot(wait_for=GO)
    def relieved(self, tx: finality.SyncTx, others: int) -> None:
        tx.execute("DELETE FROM shift WHERE doctor = ?", self.doctor)


@dataclass(frozen=True)
class RelieveLocked(finality.Saga):
    """The same, with the shift locked before it looks."""

    doctor: str

    @finality.step(retry=PATIENT)
    def others(self, tx: finality.SyncTx) -> int:
        tx.lock("shift/night")
        others = int(tx.execute(OTHERS, self.doctor).scalar())
        if others == 0:
            raise finality.Refused("one has to stay")
        return others

    @finality.pivot(wait_for=GO)
    def relieved(self, tx: finality.SyncTx, others: int) -> None:
        tx.execute("DELETE FROM shift WHERE doctor = ?", self.doctor)


def test_nobody_stays_when_each_relies_on_the_other(url: str) -> None:
    async def main(stage: Stage) -> None:
        await stage.prepare(*SHIFT)
        await stage.start(Relieve("ann"), "ann", until=WAITS)
        await stage.start(Relieve("bea"), "bea", until=WAITS)

        assert await stage.go_on("ann", "bea") == [finality.COMPLETED, finality.COMPLETED]
        assert await stage.node.query("SELECT doctor FROM shift") == []

    play(url, main)


def test_one_stays_when_the_shift_is_locked(url: str) -> None:
    async def main(stage: Stage) -> None:
        await stage.prepare(*SHIFT)
        await stage.start(RelieveLocked("ann"), "ann", until=WAITS)
        await stage.start(RelieveLocked("bea"), "bea", until=e.StepFailed)  # She is told who has the lock.

        assert await stage.go_on("ann") == [finality.COMPLETED]

        bea = await stage.node.outcome("bea")

        assert (bea.status, bea.because) == (finality.COMPENSATED, "one has to stay")
        assert await stage.node.query("SELECT doctor FROM shift") == [("bea",)]

    play(url, main)
