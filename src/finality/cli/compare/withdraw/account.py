"""The account as what has happened to it; what its withdrawals still owe is read from that, too."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self, assert_never

import finality
from finality.cli.compare.withdraw.rules import Order


@dataclass(frozen=True)
class Deposited:
    """Money came in."""

    cents: int


@dataclass(frozen=True)
class WithdrawalRequested:
    """Somebody wants money to be paid to a card."""

    order: Order


@dataclass(frozen=True)
class BalanceChecked:
    """There is enough, or there is not."""

    id: str
    is_enough: bool


@dataclass(frozen=True)
class MoneyDeducted:
    """The money is off the account."""

    id: str
    cents: int


@dataclass(frozen=True)
class PaymentProcessed:
    """The card was paid."""

    id: str


@dataclass(frozen=True)
class MoneyReturned:
    """The card could not be paid, and the money is back."""

    id: str
    cents: int
    because: str


@dataclass(frozen=True)
class WithdrawalCompleted:
    """Nothing is owed any more."""

    id: str


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
class Account(finality.Aggregate[Event], snapshot_every=100):
    """An account.

    Attributes:
        orders: Of the withdrawals that have not come to their end.
        closed: Why the others were refused, by their ids; of what was paid nothing.
    """

    cents: int = 0
    orders: dict[str, Order] = field(default_factory=dict)
    closed: dict[str, str] = field(default_factory=dict)

    def withdraw(self, order: Order) -> list[Event]:
        """Request, check and deduct in one append, or say that there is not enough; once for each id."""
        if order.id in self.orders or order.id in self.closed:
            return []
        is_enough = order.cents <= self.cents
        requested: list[Event] = [WithdrawalRequested(order), BalanceChecked(order.id, is_enough)]
        return [*requested, MoneyDeducted(order.id, order.cents)] if is_enough else requested

    def paid(self, id: str) -> list[Event]:
        """The card was paid: the withdrawal is complete."""
        return [PaymentProcessed(id), WithdrawalCompleted(id)] if id in self.orders else []

    def refused(self, id: str, because: str) -> list[Event]:
        """The card was not paid: the money goes back."""
        return [MoneyReturned(id, self.orders[id].cents, because)] if id in self.orders else []

    def evolve(self, event: Event) -> Self:
        """Return the account that the event makes."""
        match event:
            case Deposited(cents):
                return replace(self, cents=self.cents + cents)
            case MoneyDeducted(_, cents):
                return replace(self, cents=self.cents - cents)
            case WithdrawalRequested(order):
                return replace(self, orders={**self.orders, order.id: order})
            case BalanceChecked(id, is_enough):
                return self if is_enough else self._close(id, "too little on the account")
            case MoneyReturned(id, cents, because):
                return replace(self, cents=self.cents + cents)._close(id, because)
            case WithdrawalCompleted(id):
                return self._close(id, "")
            case PaymentProcessed():
                return self
        assert_never(event)

    def _close(self, id: str, because: str) -> Self:
        orders = {each: order for each, order in self.orders.items() if each != id}
        return replace(self, orders=orders, closed={**self.closed, id: because})
