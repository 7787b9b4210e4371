"""What the bank's customers ask for: accounts and orders, thrown with a seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any

from finality.cli.demo.bank import Account

ACCOUNTS_A_SECOND = 200
ACCOUNTS_MIN, ACCOUNTS_MAX = 1_000, 100_000
POOR = 0.08  # Of the accounts cannot pay for much.
CLOSED = 0.02  # Of the accounts take no more money.
WITHDRAWALS = 0.6  # Of the orders; the others are transfers.
USUAL = (10_000, 10_000, 10_000, 5_000, 2_500, 6_420, 12_999)  # Cents: $100 and the like.


@dataclass(frozen=True, slots=True)
class Order:
    """One saga that a customer wants: its id makes it the same one however often it is sent."""

    id: str
    saga: str
    input: dict[str, Any]


def accounts_for(seconds: float, dice: Random) -> list[Account]:
    """Return enough accounts that most of them last for *seconds*."""
    total = min(max(int(seconds * ACCOUNTS_A_SECOND), ACCOUNTS_MIN), ACCOUNTS_MAX)
    accounts = []
    for number in range(total):
        cents = dice.randrange(2_000, 15_000) if dice.random() < POOR else dice.randrange(100_000, 400_000)
        accounts.append(Account(f"A{number:05}", cents, is_closed=dice.random() < CLOSED))
    return accounts


def orders(accounts: list[Account], dice: Random) -> Iterator[Order]:
    """Yield orders without end."""
    ids = [account.id for account in accounts]
    for number in count(1):
        cents = dice.choice(USUAL)
        if dice.random() < WITHDRAWALS:
            card = f"4{dice.randrange(10**15):015}"
            input: dict[str, Any] = {"account": dice.choice(ids), "cents": cents, "card": card}
            yield Order(f"withdrawal-{number}", "Withdraw", input)
        else:
            payer, payee = dice.sample(ids, 2)
            yield Order(f"transfer-{number}", "Transfer", {"payer": payer, "payee": payee, "cents": cents})
