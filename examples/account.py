"""Withdraw $100 by event sourcing: the account is what has happened to it.

Watch for two things. What a withdrawal still owes is read from its events and from nothing else, so that
a program which dies anywhere goes on where it was: kill this one, run it again on the same file, and it
comes to the same end. And the balance of any day is still there: load the account as it was.

    python examples/account.py [FILE.db]
"""

import asyncio
import sys
from dataclasses import dataclass, field, replace
from typing import Self, assert_never

import finality


@dataclass(frozen=True)
class Deposited:
    """Money came in."""

    dollars: int


@dataclass(frozen=True)
class WithdrawalRequested:
    """Somebody wants money to be paid to a card."""

    withdrawal: str
    dollars: int
    card: str


@dataclass(frozen=True)
class BalanceChecked:
    """There is enough, or there is not."""

    withdrawal: str
    is_enough: bool


@dataclass(frozen=True)
class MoneyDeducted:
    """The money is off the account."""

    withdrawal: str
    dollars: int


@dataclass(frozen=True)
class PaymentProcessed:
    """The card was paid."""

    withdrawal: str
    receipt: str


@dataclass(frozen=True)
class MoneyReturned:
    """The card could not be paid, and the money is back."""

    withdrawal: str
    dollars: int
    because: str


@dataclass(frozen=True)
class WithdrawalCompleted:
    """Nothing is owed any more."""

    withdrawal: str


Event = (
    Deposited
    | WithdrawalRequested
    | BalanceChecked
    | MoneyDeducted
    | PaymentProcessed
    | MoneyReturned
    | WithdrawalCompleted
)


@dataclass(frozen=True)
class Withdrawal:
    """One withdrawal, as far as it has come."""

    dollars: int
    card: str
    status: str = "requested"


@dataclass(frozen=True)
class Account(finality.Aggregate[Event], snapshot_every=100):
    """An account, and the withdrawals that are under way."""

    dollars: int = 0
    withdrawals: dict[str, Withdrawal] = field(default_factory=dict)

    def withdraw(self, id: str, dollars: int, card: str) -> list[Event]:
        """Request, check and deduct in one append, or say that there is not enough; once for each id."""
        if id in self.withdrawals:
            return []
        is_enough = dollars <= self.dollars
        requested: list[Event] = [WithdrawalRequested(id, dollars, card), BalanceChecked(id, is_enough)]
        return [*requested, MoneyDeducted(id, dollars)] if is_enough else requested

    def paid(self, id: str, receipt: str) -> list[Event]:
        """The card was paid: the withdrawal is complete."""
        return [PaymentProcessed(id, receipt), WithdrawalCompleted(id)] if self.owes(id) else []

    def refused(self, id: str, because: str) -> list[Event]:
        """The card was not paid: the money goes back."""
        return [MoneyReturned(id, self.withdrawals[id].dollars, because)] if self.owes(id) else []

    def owes(self, id: str) -> bool:
        """Say whether the money is deducted, and nobody knows yet what became of the payment."""
        return self.withdrawals[id].status == "deducted"

    def evolve(self, event: Event) -> Self:
        """Return the account that the event makes."""
        match event:
            case Deposited(dollars):
                return replace(self, dollars=self.dollars + dollars)
            case WithdrawalRequested(id, dollars, card):
                return replace(self, withdrawals={**self.withdrawals, id: Withdrawal(dollars, card)})
            case BalanceChecked(id, is_enough):
                return self if is_enough else self._become(id, "refused: not enough money")
            case MoneyDeducted(id, dollars):
                return replace(self, dollars=self.dollars - dollars)._become(id, "deducted")
            case PaymentProcessed(id, receipt):
                return self._become(id, f"paid: {receipt}")
            case MoneyReturned(id, dollars, because):
                return replace(self, dollars=self.dollars + dollars)._become(id, f"refused: {because}")
            case WithdrawalCompleted():
                return self
        assert_never(event)

    def _become(self, id: str, status: str) -> Self:
        moved = replace(self.withdrawals[id], status=status)
        return replace(self, withdrawals={**self.withdrawals, id: moved})


async def withdraw(node: finality.AsyncNode, id: str, dollars: int, card: str) -> Account:
    """Withdraw, or go on with a withdrawal that was left: its events say what it owes."""
    account = await node.decide(Account, "ada", lambda account: account.withdraw(id, dollars, card))
    if not account.owes(id):
        return account
    try:
        receipt = await pay(card, dollars, idempotency_key=id)
    except finality.Refused as refused:
        because = refused.because
        return await node.decide(Account, "ada", lambda account: account.refused(id, because))
    return await node.decide(Account, "ada", lambda account: account.paid(id, receipt))


async def pay(card: str, dollars: int, *, idempotency_key: str) -> str:
    """Stand where your payment provider's client would be; it knows a request again by its key."""
    if card == "expired":
        raise finality.Refused("card expired")
    return f"receipt for ${dollars} ({idempotency_key})"


async def main(file: str) -> None:
    """Withdraw three times."""
    async with finality.open_async(f"sqlite:///{file}") as node:
        await node.decide(Account, "ada", lambda a: None if a.loaded.version else Deposited(500))
        for id, dollars, card in (("w-1", 100, "visa"), ("w-2", 100, "expired"), ("w-3", 900, "visa")):
            account = await withdraw(node, id, dollars, card)
            print(f"{id} {account.withdrawals[id].status}; ada has ${account.dollars}")

        print("\nwhat happened to the account:")
        for recorded in await node.events(Account, "ada"):
            print(f"  {recorded.version:2}  {recorded.event}")
        before = await node.load(Account, "ada", at=1)
        print(f"before all that, ada had ${before.dollars}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "account.db"))
