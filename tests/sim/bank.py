"""The workload of the simulation: money that moves between stores and a service, in every way a saga can.

Whatever happens, the sum over the home store, the store beside it and the service stays the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import finality
from finality.testing import Chaos, SimulatedService, World

ACCOUNTS = 8
OPENING = 1_000
QUICK = finality.Retry(attempts=4, first_seconds=0.02, cap_seconds=0.2)
PATIENT = finality.Retry(attempts=30, first_seconds=0.02, cap_seconds=0.3)


class Here:
    """What the sagas of the simulation that runs now have around them."""

    chaos: Chaos
    wallet: SimulatedService
    wallets: int

    @classmethod
    def begin(cls, world: World, chaos: Chaos) -> None:
        """Open the accounts."""
        cls.chaos = chaos
        cls.wallet = SimulatedService("wallet", chaos.rates.service, seed=world.seed)
        cls.wallets = 0
        for store in (None, "bank"):
            world.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)", at=store)
            for number in range(ACCOUNTS):
                world.execute("INSERT INTO account VALUES (?, ?)", number, OPENING, at=store)
        world.execute("CREATE TABLE token (id TEXT)")

    @classmethod
    def total(cls, world: World) -> int:
        """Return all the money there is."""
        sums = [world.query("SELECT sum(balance) FROM account", at=at).scalar() for at in (None, "bank")]
        return int(sum(sums)) + cls.wallets

    @classmethod
    def paid_in(cls, amount: int) -> int:
        """Move money into the wallet, which may refuse: the same way each time it is asked."""
        cls.chaos.stumble()
        cls.wallets += amount
        return amount

    @classmethod
    def paid_out(cls, amount: int) -> None:
        """Move money out of the wallet."""
        cls.wallets -= amount


def move(tx: finality.SyncTx, account: int, amount: int) -> None:
    """Change a balance, with something going wrong before or after it."""
    Here.chaos.stumble()
    tx.execute("UPDATE account SET balance = balance + ? WHERE id = ?", amount, account)
    Here.chaos.stumble()


async def move_slowly(tx: finality.Tx, account: int, amount: int) -> None:
    """Change a balance in a scope that stays open for a while."""
    Here.chaos.stumble()
    await Here.chaos.dawdle(0.5)
    await tx.execute("UPDATE account SET balance = balance + ? WHERE id = ?", amount, account)
    await Here.chaos.dawdle(0.2)
    Here.chaos.stumble()


def give_back(tx: finality.SyncTx, account: int, amount: int) -> None:
    """Undo a move; a compensation may fail and never refuse."""
    Here.chaos.stumble(may_refuse=False)
    tx.execute("UPDATE account SET balance = balance + ? WHERE id = ?", amount, account)
    Here.chaos.stumble(may_refuse=False)


@dataclass(frozen=True)
class Transfer(finality.Saga):
    """Home to home, plain steps."""

    source: int
    target: int
    amount: int

    @finality.step(retry=QUICK)
    def taken(self, tx: finality.SyncTx) -> int:
        move(tx, self.source, -self.amount)
        return self.amount

    @taken.compensate(retry=PATIENT)
    def given_back(self, tx: finality.SyncTx, taken: int) -> None:
        give_back(tx, self.source, taken)

    @finality.pivot(retry=QUICK)
    def given(self, tx: finality.SyncTx, taken: int) -> int:
        move(tx, self.target, taken)
        return taken


@dataclass(frozen=True)
class AcrossStores(finality.Saga):
    """Home to bank to wallet: a witness in another store, a key at a service, branches in parallel."""

    source: int
    target: int
    amount: int

    @finality.step(retry=QUICK)
    async def taken(self, tx: finality.Tx) -> int:
        await move_slowly(tx, self.source, -2 * self.amount)
        return self.amount

    @taken.compensate(retry=PATIENT)
    async def given_back(self, tx: finality.Tx, taken: int) -> None:
        Here.chaos.stumble(may_refuse=False)
        await tx.execute("UPDATE account SET balance = balance + ? WHERE id = ?", 2 * taken, self.source)

    @finality.step(at="bank", retry=QUICK)
    def banked(self, tx: finality.SyncTx, taken: int) -> int:
        move(tx, self.target, taken)
        return taken

    @banked.compensate(retry=PATIENT)
    def unbanked(self, tx: finality.SyncTx, banked: int) -> None:
        give_back(tx, self.target, -banked)

    @finality.step(retry=QUICK, timeout=timedelta(seconds=0.3))
    async def paid(self, taken: int, attempt: finality.Attempt) -> int:
        await Here.chaos.dawdle(0.6)
        Here.chaos.stumble(may_refuse=False)
        return await Here.wallet.ask(attempt.key, lambda: Here.paid_in(taken))

    @paid.compensate(retry=PATIENT)
    async def unpaid(self, paid: int | None, attempt: finality.Attempt) -> None:
        Here.chaos.stumble(may_refuse=False)
        assert attempt.undoes is not None, "a compensation knows what it undoes"
        await Here.wallet.undo(attempt.undoes, Here.paid_out)

    @finality.step(retry=QUICK)
    def noted(self, tx: finality.SyncTx, banked: int, paid: int) -> None:
        Here.chaos.stumble()


@dataclass(frozen=True)
class Approved(finality.Saga, deadline=timedelta(seconds=4)):
    """Waits for a person, then for a while, then moves money in the bank with an async step."""

    source: int
    target: int
    amount: int

    @finality.step(
        retry=QUICK,
        wait_for=finality.signal("approval", within=timedelta(seconds=2), default=True),
    )
    def approved(self, tx: finality.SyncTx, approval: bool) -> bool:
        if not approval:
            raise finality.Refused("a person said no")
        move(tx, self.source, -self.amount)
        return True

    @approved.compensate(retry=PATIENT)
    def forgotten(self, tx: finality.SyncTx, approved: bool) -> None:
        give_back(tx, self.source, self.amount)

    @finality.step(at="bank", retry=QUICK, wait_for=finality.timer(timedelta(seconds=0.3)))
    async def banked(self, tx: finality.Tx, approved: bool) -> int:
        await move_slowly(tx, self.target, self.amount)
        return self.amount

    @banked.compensate(retry=PATIENT)
    async def unbanked(self, tx: finality.Tx, banked: int) -> None:
        Here.chaos.stumble(may_refuse=False)
        await tx.execute("UPDATE account SET balance = balance - ? WHERE id = ?", banked, self.target)

    @finality.step(retry=QUICK)
    def told(self, banked: int) -> str:
        Here.chaos.stumble()
        return "told"


@dataclass(frozen=True)
class Split(finality.Saga):
    """Pays several accounts at once; what went wrong with one undoes all."""

    source: int
    targets: list[int]
    amount: int

    @finality.step(retry=QUICK)
    def taken(self, tx: finality.SyncTx) -> int:
        move(tx, self.source, -self.amount * len(self.targets))
        return self.amount

    @taken.compensate(retry=PATIENT)
    def given_back(self, tx: finality.SyncTx, taken: int) -> None:
        give_back(tx, self.source, taken * len(self.targets))

    @finality.step(each="targets", at_once=2, retry=QUICK)
    def shares(self, tx: finality.SyncTx, taken: int, item: int) -> int:
        move(tx, item, taken)
        return taken

    @shares.compensate(retry=PATIENT)
    def returned(self, tx: finality.SyncTx, shares: int, item: int) -> None:
        give_back(tx, item, -shares)

    @finality.step(retry=QUICK)
    def done(self, tx: finality.SyncTx, shares: list[int]) -> int:
        Here.chaos.stumble()
        return len(shares)


@dataclass(frozen=True)
class Leg(finality.Saga):
    """Home to bank, as part of another saga."""

    source: int
    target: int
    amount: int

    @finality.step(retry=QUICK)
    def taken(self, tx: finality.SyncTx) -> int:
        tx.lock(f"account {self.source}")
        move(tx, self.source, -self.amount)
        return self.amount

    @taken.compensate(retry=PATIENT)
    def given_back(self, tx: finality.SyncTx, taken: int) -> None:
        give_back(tx, self.source, taken)

    @finality.step(at="bank", retry=QUICK)
    def banked(self, tx: finality.SyncTx, taken: int) -> int:
        move(tx, self.target, taken)
        return taken

    @banked.compensate(retry=PATIENT)
    def unbanked(self, tx: finality.SyncTx, banked: int) -> None:
        give_back(tx, self.target, -banked)


@dataclass(frozen=True)
class TwoLegs(finality.Saga):
    """Two sagas in parallel as steps of one; a condition skips what is not needed."""

    source: int
    target: int
    amount: int

    @finality.child
    def first(self) -> Leg:
        return Leg(self.source, self.target, self.amount)

    @finality.child
    def second(self) -> Leg:
        return Leg(self.target, self.source, self.amount)

    @finality.step(retry=QUICK, when=lambda self, first, second: self.amount % 2 == 0)
    def fee(self, tx: finality.SyncTx, first: Any, second: Any) -> int:
        move(tx, self.source, -1)
        tx.execute("UPDATE account SET balance = balance + 1 WHERE id = ?", self.target)
        return 1

    @fee.compensate(retry=PATIENT)
    def fee_back(self, tx: finality.SyncTx, fee: int) -> None:
        give_back(tx, self.source, fee)
        tx.execute("UPDATE account SET balance = balance - 1 WHERE id = ?", self.target)

    @finality.step(retry=QUICK, breaker=finality.Breaker("post", failures=3, open_for=timedelta(seconds=0.3)))
    async def told(self, fee: int | None) -> str:
        Here.chaos.stumble()
        return "told"


SAGAS: tuple[type[finality.Saga], ...] = (Transfer, AcrossStores, Approved, Split, TwoLegs)


def any_saga(chaos: Chaos) -> finality.Saga:
    """Return one of the sagas, with an input of its own; most are plain transfers, as in life."""
    source, amount = int(chaos.chance() * ACCOUNTS), 1 + int(chaos.chance() * 20)
    target = (source + 1 + int(chaos.chance() * (ACCOUNTS - 1))) % ACCOUNTS
    kind = chaos.chance()
    if kind < 0.6:
        return Transfer(source, target, amount)
    if kind < 0.78:
        return AcrossStores(source, target, amount)
    if kind < 0.86:
        return Approved(source, target, amount)
    if kind < 0.94:
        return Split(source, [target, source, (target + 1) % ACCOUNTS], amount)
    return TwoLegs(source, target, amount)
