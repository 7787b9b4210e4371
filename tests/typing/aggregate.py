"""How aggregates read to a type checker: what is loaded is the class that was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, assert_type

import finality
from finality.testing import given


@dataclass(frozen=True)
class Deposited:
    amount: int


@dataclass(frozen=True)
class Withdrawn:
    amount: int


@finality.event(tags=["course"])
@dataclass(frozen=True)
class SeatTaken:
    course: str


@dataclass(frozen=True)
class Account(finality.Aggregate[Deposited | Withdrawn], snapshot_every=100):
    balance: int = 0

    def withdraw(self, amount: int) -> Withdrawn:
        return Withdrawn(amount)

    def evolve(self, event: Deposited | Withdrawn) -> Self:
        return self


async def blocks(node: finality.AsyncNode) -> None:
    async with node.transaction() as tx:
        account = await tx.load(Account, "acc-1")
        assert_type(account, Account)
        await tx.append(account, account.withdraw(30))
        await tx.append(account, Deposited(1), Withdrawn(1), meta=finality.Meta(by="ada"))
        await tx.append(account, SeatTaken("c1"))  # type: ignore[misc]  # no event of an account
        await tx.load(SeatTaken, "c1")  # type: ignore[type-var]  # an event is no aggregate
        seats = finality.events(SeatTaken, Withdrawn, course="c1")
        assert_type(seats, finality.Events[SeatTaken | Withdrawn])
        either = finality.events(SeatTaken, course="c1") | finality.events(Deposited, by="a")
        found = await tx.read(either)
        assert_type(list(found), list[SeatTaken | Deposited])
        await tx.append(found, SeatTaken("c1"))
    assert_type(await node.decide(Account, "acc-1", lambda account: account.withdraw(30)), Account)
    assert_type(await node.load(Account, "acc-1", at=7), Account)
    assert_type(await node.aggregates(Account), list[Account])


def functions(node: finality.Node) -> None:
    def withdraw(tx: finality.SyncTx) -> Account:
        account = tx.load(Account, "acc-1")
        tx.append(account, account.withdraw(30))
        return account

    assert_type(node.run(withdraw), Account)
    with node.transaction() as tx:
        assert_type(tx.load(Account, "acc-1"), Account)
    assert_type(node.decide(Account, "acc-1", lambda account: account.withdraw(30)), Account)


def fixtures() -> None:
    decided = given(Account, Deposited(50)).when(lambda account: account.withdraw(30))
    assert_type(decided.then(Withdrawn(30)), Account)
