"""The domain, once for all ways: accounts at a bank, payments by a provider, the rules of a withdrawal.

Every rule works with whatever runs a statement: the ``execute`` of a transaction, of a branch or of a
step. The ways differ in which rules they call, where, and in what order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import finality

ACCOUNT = "ada"
CENTS = 100_00
EXPIRED = "an expired card"

Execute = Callable[..., Awaitable[Any]]

ACCOUNTS = (
    "CREATE TABLE account (id VARCHAR(32) PRIMARY KEY NOT NULL, cents BIGINT NOT NULL, held BIGINT NOT NULL)"
)
PAYMENTS = (
    "CREATE TABLE payment (id VARCHAR(64) PRIMARY KEY NOT NULL, cents BIGINT NOT NULL, "
    "state VARCHAR(8) NOT NULL)"
)


@dataclass(frozen=True)
class Order:
    """Somebody wants money from an account, on a card."""

    id: str
    card: str = "a good card"
    account: str = ACCOUNT
    cents: int = CENTS


# ── At once: take, and pay ──────────────────────────────────────────────────────────────────


async def take(execute: Execute, order: Order) -> None:
    """Take the money from the account.

    Raises:
        Refused: It has too little.
    """
    rows = await execute(
        "UPDATE account SET cents = cents - $1 WHERE id = $2 AND cents >= $1 RETURNING cents",
        order.cents, order.account,
    )  # fmt: skip
    if not rows:
        raise finality.Refused(f"{order.account} has too little on the account")


async def give_back(execute: Execute, order: Order) -> None:
    """Put it back on the account."""
    await execute("UPDATE account SET cents = cents + $1 WHERE id = $2", order.cents, order.account)


async def pay(execute: Execute, order: Order) -> None:
    """Pay the card.

    Raises:
        Refused: The provider does not.
    """
    await _pay(execute, order, "paid")


async def pay_once(execute: Execute, order: Order) -> None:
    """Pay the card, unless it was: the provider knows a request again by its id.

    Raises:
        Refused: The provider does not.
    """
    if not await execute("SELECT id FROM payment WHERE id = $1", order.id):
        await pay(execute, order)


async def _pay(execute: Execute, order: Order, state: str) -> None:
    if order.card == EXPIRED:
        raise finality.Refused("the card has expired")
    await execute("INSERT INTO payment VALUES ($1, $2, $3)", order.id, order.cents, state)


# ── Held first, taken or given back later ───────────────────────────────────────────────────


@dataclass(frozen=True)
class MoneyHold(finality.Reservation[None]):
    """The money, set aside on the account."""

    order: Order

    async def try_(self, tx: finality.Tx) -> None:
        """Set it aside."""
        await take(tx.execute, self.order)
        await self._hold(tx, self.order.cents)

    async def confirm(self, tx: finality.Tx, held: None) -> None:
        """It has gone."""
        await self._hold(tx, -self.order.cents)

    async def cancel(self, tx: finality.Tx, held: None) -> None:
        """Put it back."""
        await self._hold(tx, -self.order.cents)
        await give_back(tx.execute, self.order)

    async def _hold(self, tx: finality.Tx, cents: int) -> None:
        await tx.execute("UPDATE account SET held = held + $1 WHERE id = $2", cents, self.order.account)


@dataclass(frozen=True)
class PaymentHold(finality.Reservation[None]):
    """The payment, authorized by the provider."""

    order: Order

    async def try_(self, tx: finality.Tx) -> None:
        """Authorize it."""
        await _pay(tx.execute, self.order, "held")

    async def confirm(self, tx: finality.Tx, held: None) -> None:
        """Pay."""
        await tx.execute("UPDATE payment SET state = 'paid' WHERE id = $1", self.order.id)

    async def cancel(self, tx: finality.Tx, held: None) -> None:
        """Forget it."""
        await tx.execute("DELETE FROM payment WHERE id = $1", self.order.id)
