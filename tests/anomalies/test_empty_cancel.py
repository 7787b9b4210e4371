"""Empty cancel, and the late action behind it.

A node is about to reserve at the bank when it stands still: a long pause, a lost network. Its lease ends,
another node takes the saga over and undoes it. The compensation reaches the bank before the action that
it should take back: there is nothing to cancel, and it must succeed all the same, or the saga would be
stuck. Then the paused node wakes and its action arrives, late, and reserves for a saga that is no more.

In a store of ours a compensation leaves its witness even when there was nothing to undo, and an action that
comes after its own compensation finds it and never runs. What takes no ``tx`` has no witness: there the
service must remember the key that the compensation gives it, ``attempt.undoes``. What a reservation (TCC)
makes of it is in ``test_late_try``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import apsw
import pytest

import finality
from tests.anomalies.paused import PAUSE, undone_while_paused


class Bank:
    """A service in front of the bank's database; it may remember which requests were cancelled."""

    def __init__(self) -> None:
        self.path = ""
        self.cancelled: set[str] = set()

    def reserve(self, key: str) -> None:
        if key not in self.cancelled:
            self._write("INSERT INTO reservations VALUES (1)")

    def cancel(self, key: str | None = None) -> None:
        if key is not None:
            self.cancelled.add(key)
        self._write("DELETE FROM reservations")

    def _write(self, statement: str) -> None:
        connection = apsw.Connection(self.path)
        connection.set_busy_timeout(10_000)
        connection.execute(statement)
        connection.close()


BANK = Bank()


@dataclass(frozen=True)
class BookBlindly(finality.Saga):
    """Asks a service that forgets what it was asked."""

    @finality.step
    async def reserved(self, attempt: finality.Attempt) -> int:
        PAUSE.here()
        BANK.reserve(attempt.key)
        return 1

    @reserved.compensate
    def cancel(self, reserved: int | None) -> None:
        BANK.cancel()


@dataclass(frozen=True)
class BookByKey(finality.Saga):
    """Asks a service that remembers what was cancelled."""

    @finality.step
    async def reserved(self, attempt: finality.Attempt) -> int:
        PAUSE.here()
        BANK.reserve(attempt.key)
        return 1

    @reserved.compensate
    def cancel(self, reserved: int | None, attempt: finality.Attempt) -> None:
        BANK.cancel(attempt.undoes)


@dataclass(frozen=True)
class BookInStore(finality.Saga):
    """Works in the bank's own database, where the witness is."""

    @finality.step(at="bank")
    async def reserved(self, tx: finality.Tx) -> int:
        PAUSE.here()
        await tx.execute("INSERT INTO reservations VALUES (1)")
        return 1

    @reserved.compensate
    async def cancel(self, tx: finality.Tx, reserved: int) -> None:
        await tx.execute("DELETE FROM reservations")


@pytest.mark.slow
@pytest.mark.parametrize(
    "saga, left",
    [(BookBlindly(), [(1,)]), (BookByKey(), []), (BookInStore(), [])],
    ids=["a service that forgets", "a service that knows the key", "a store with its witness"],
)
def test_what_comes_after_its_own_cancel(tmp_path: Path, saga: finality.Saga, left: list[object]) -> None:
    BANK.cancelled.clear()
    BANK.path = str(tmp_path / "bank.db")

    before, after = undone_while_paused(tmp_path, saga)

    assert (before, after) == ([], left)
