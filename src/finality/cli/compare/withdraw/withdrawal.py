"""What all ways to withdraw have in common: the tables, and how the books are read."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from finality.cli.compare.place import Place
from finality.cli.compare.way import Way
from finality.cli.compare.withdraw.rules import ACCOUNT, ACCOUNTS, EXPIRED, PAYMENTS, Order
from finality.node import AsyncNode

START_CENTS = 1_000_000_00
LOOK_AT_ACCOUNT = f"SELECT cents, held FROM account WHERE id = '{ACCOUNT}'"  # noqa: S608 - our own constant
LOOK_AT_PAYMENTS = (
    "SELECT CAST(coalesce(sum(CASE state WHEN 'paid' THEN cents END), 0) AS BIGINT) AS paid, "
    "CAST(coalesce(sum(CASE state WHEN 'held' THEN cents END), 0) AS BIGINT) AS authorized FROM payment"
)


@dataclass(frozen=True, slots=True)
class Money:
    """Fulfils ``Books``.

    Attributes:
        cents: What the account has to spend.
        held: What is set aside on it.
        paid: What the provider has paid.
        authorized: What it will pay, or not.
    """

    cents: int
    held: int
    paid: int
    authorized: int

    @property
    def is_whole(self) -> bool:
        """Say whether all the money is there, once."""
        return self.cents + self.held + self.paid == START_CENTS

    @property
    def is_held(self) -> bool:
        """Say whether some is set aside, or may be paid."""
        return bool(self.held or self.authorized)


class Withdrawal(Way):
    """A way to withdraw.

    Attributes:
        bank: The database that holds the accounts.
        provider: The database that holds the payments.
    """

    databases: ClassVar[tuple[str, ...]] = ("home", "bank", "provider")
    bank: ClassVar[str] = "bank"
    provider: ClassVar[str] = "provider"

    async def found(self, place: Place) -> None:
        """Open an account."""
        await place.execute(self.bank, ACCOUNTS)
        await place.execute(self.bank, f"INSERT INTO account VALUES ('{ACCOUNT}', {START_CENTS}, 0)")  # noqa: S608 - our own constants
        await self.found_payments(place)

    async def found_payments(self, place: Place) -> None:
        """Begin to keep payments."""
        await place.execute(self.provider, PAYMENTS)

    async def books(self, place: Place) -> Money:
        """Ask the bank and the provider; both at once where they are one database."""
        if self.bank == self.provider:
            both = f"SELECT * FROM ({LOOK_AT_ACCOUNT}) AS a, ({LOOK_AT_PAYMENTS}) AS p"  # noqa: S608 - our own constants
            [row] = await place.execute(self.bank, both)
            return Money(*row)
        [at_bank] = await place.execute(self.bank, LOOK_AT_ACCOUNT)
        [at_provider] = await place.execute(self.provider, LOOK_AT_PAYMENTS)
        return Money(*at_bank, *at_provider)

    async def done(self, place: Place) -> set[str]:
        """Return what was paid."""
        paid = await place.execute(self.provider, "SELECT id FROM payment WHERE state = 'paid'")
        return {id for (id,) in paid}

    async def act(
        self, node: AsyncNode, id: str, *, deadline: timedelta, is_refused: bool = False
    ) -> float | None:
        """Withdraw; what is refused has an expired card."""
        order = Order(id, EXPIRED) if is_refused else Order(id)
        return await self.withdraw(node, order, deadline=deadline)

    @abstractmethod
    async def withdraw(self, node: AsyncNode, order: Order, *, deadline: timedelta) -> float | None:
        """Withdraw; on return the customer may be told. Return when it was accepted, as ``act`` does."""
