"""The demo's bank: withdrawals and wallet transfers as durable sagas over four databases.

```
    Withdraw   debit ──▶ entry ──▶ payment ──▶ clearance ──▶ notification
               accounts  ledger    provider    (pivot)       notifications

    Transfer   debit ──▶ credit ──▶ entry ──▶ notification
               accounts  (pivot)    ledger    notifications
```

What a step does in a database carries the saga's id, so that whoever checks the books can count
each saga's effects without believing a word of the engine's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import finality
from finality.cli.demo.provider import PaymentProvider

STORES = ("accounts", "ledger", "notifications")
PAYOUTS = "payouts"  # The ledger's account of what the payment provider owes the bank's customers.

BRISK = finality.Retry(attempts=6, first_seconds=0.05, cap_seconds=0.5)
STUBBORN = finality.Retry(attempts=100, first_seconds=0.05, cap_seconds=1.0)
UNTIL_DONE = finality.Retry(attempts=None, first_seconds=0.05, cap_seconds=1.0)

# The indexes hold all that an audit asks for: it reads them once a second while the bank works.
SCHEMA = {
    None: (
        "CREATE TABLE clearance (saga TEXT NOT NULL, payment TEXT NOT NULL)",
        "CREATE INDEX clearance_saga ON clearance (saga)",
    ),
    "accounts": (
        "CREATE TABLE account (id TEXT PRIMARY KEY, opening INTEGER NOT NULL, cents INTEGER NOT NULL,"
        " is_closed INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE movement (saga TEXT NOT NULL, kind TEXT NOT NULL, account TEXT NOT NULL,"
        " cents INTEGER NOT NULL)",
        "CREATE INDEX movement_saga ON movement (saga, kind, cents)",
    ),
    "ledger": (
        "CREATE TABLE line (saga TEXT NOT NULL, kind TEXT NOT NULL, account TEXT NOT NULL,"
        " cents INTEGER NOT NULL)",
        "CREATE INDEX line_saga ON line (saga, kind, cents)",
    ),
    "notifications": (
        "CREATE TABLE notification (saga TEXT NOT NULL, account TEXT NOT NULL, text TEXT NOT NULL)",
        "CREATE INDEX notification_saga ON notification (saga)",
    ),
}

# How a saga reaches the services that are no part of its input: set once, when its process begins.
provider = PaymentProvider(Path("provider.sock"))


@dataclass(frozen=True, slots=True)
class Account:
    """A customer's account as the bank opens it."""

    id: str
    cents: int
    is_closed: bool = False


def home_url(directory: Path) -> str:
    """Return the URL of the store that holds the sagas."""
    return f"sqlite:///{directory / 'finality.db'}"


def store_urls(directory: Path) -> dict[str, str]:
    """Return the URLs of the other databases by name."""
    return {name: f"sqlite:///{directory / f'{name}.db'}" for name in STORES}


def open_bank(directory: Path, *, lease: timedelta, is_observer: bool = False) -> finality.AsyncNode:
    """Return a node of the bank in *directory*."""
    return finality.open_async(
        home_url(directory),
        stores=store_urls(directory),
        sagas=SAGAS.values(),
        lease=lease,
        is_observer=is_observer,
    )


async def found_bank(node: finality.AsyncNode, accounts: list[Account]) -> None:
    """Create the bank's tables and open *accounts*."""

    def create(tx: finality.SyncTx, statements: tuple[str, ...]) -> None:
        for statement in statements:
            tx.execute(statement)

    def open_accounts(tx: finality.SyncTx) -> None:
        for account in accounts:
            tx.execute(
                "INSERT INTO account VALUES (?, ?, ?, ?)",
                account.id, account.cents, account.cents, int(account.is_closed),
            )  # fmt: skip

    for store, statements in SCHEMA.items():
        await node.run(partial(create, statements=statements), at=store)
    await node.run(open_accounts, at="accounts")


def move(tx: finality.SyncTx, saga: str, kind: str, account: str, cents: int) -> None:
    """Change a balance, and write down for which saga and as what."""
    tx.execute("UPDATE account SET cents = cents + ? WHERE id = ?", cents, account)
    tx.execute("INSERT INTO movement VALUES (?, ?, ?, ?)", saga, kind, account, cents)


def take(tx: finality.SyncTx, saga: str, account: str, cents: int) -> None:
    """Debit an account that has the money.

    Raises:
        Refused: It has not.
    """
    [(balance,)] = tx.execute("SELECT cents FROM account WHERE id = ?", account)
    if balance < cents:
        raise finality.Refused("not enough money")
    move(tx, saga, "debit", account, -cents)


def book(tx: finality.SyncTx, saga: str, kind: str, *, debit: str, credit: str, cents: int) -> None:
    """Write a double entry: two lines whose sum is zero."""
    for account, amount in ((debit, -cents), (credit, cents)):
        tx.execute("INSERT INTO line VALUES (?, ?, ?, ?)", saga, kind, account, amount)


def notify(tx: finality.SyncTx, saga: str, account: str, text: str) -> None:
    """Tell a customer something."""
    tx.execute("INSERT INTO notification VALUES (?, ?, ?)", saga, account, text)


def dollars(cents: int) -> str:
    """Return an amount as people write it."""
    return f"${cents // 100:,}.{cents % 100:02}"


@dataclass(frozen=True)
class Withdraw(finality.Saga):
    """Pays money from an account to the customer's card."""

    account: str
    cents: int
    card: str

    @finality.step(at="accounts", retry=BRISK)
    def debit(self, tx: finality.SyncTx, attempt: finality.Attempt) -> int:
        """Take the money from the account."""
        take(tx, attempt.transaction_id, self.account, self.cents)
        return self.cents

    @debit.compensate(retry=STUBBORN)
    def credit_back(self, tx: finality.SyncTx, attempt: finality.Attempt) -> None:
        """Put it back."""
        move(tx, attempt.transaction_id, "debit undone", self.account, self.cents)

    @finality.step(at="ledger", retry=BRISK)
    def entry(self, tx: finality.SyncTx, debit: int, attempt: finality.Attempt) -> None:
        """Book it: the customer has less, the payouts have more."""
        book(tx, attempt.transaction_id, "entry", debit=self.account, credit=PAYOUTS, cents=debit)

    @entry.compensate(retry=STUBBORN)
    def reversal(self, tx: finality.SyncTx, attempt: finality.Attempt) -> None:
        """Book it the other way round: a ledger is never erased."""
        book(tx, attempt.transaction_id, "reversal", debit=PAYOUTS, credit=self.account, cents=self.cents)

    @finality.step(retry=BRISK, timeout=timedelta(seconds=1))
    async def payment(self, entry: None, attempt: finality.Attempt) -> str:
        """Have the provider pay. Its answer may be lost, so each try carries the same key."""
        return await provider.pay(
            attempt.key, reference=attempt.transaction_id, card=self.card, cents=self.cents
        )

    @payment.compensate(retry=STUBBORN)
    async def refund(self, payment: str | None, attempt: finality.Attempt) -> None:
        """Have the provider take it back, whether or not we ever heard that it had paid."""
        assert attempt.undoes is not None, "a compensation knows what it undoes"
        await provider.cancel(attempt.undoes, reference=attempt.transaction_id)

    @finality.pivot
    def clearance(self, tx: finality.SyncTx, payment: str, attempt: finality.Attempt) -> None:
        """Clear the payment: from here on the withdrawal only goes forward."""
        if self.card.endswith("13"):
            raise finality.Refused("compliance stopped it")
        tx.execute("INSERT INTO clearance VALUES (?, ?)", attempt.transaction_id, payment)

    @finality.step(at="notifications", retry=UNTIL_DONE)
    def notification(
        self, tx: finality.SyncTx, clearance: None, payment: str, attempt: finality.Attempt
    ) -> None:
        """Tell the customer."""
        text = f"{dollars(self.cents)} paid to card {self.card}, receipt {payment}"
        notify(tx, attempt.transaction_id, self.account, text)


@dataclass(frozen=True)
class Transfer(finality.Saga):
    """Moves money from one wallet to another."""

    payer: str
    payee: str
    cents: int

    @finality.step(at="accounts", retry=BRISK)
    def debit(self, tx: finality.SyncTx, attempt: finality.Attempt) -> int:
        """Take the money from the payer."""
        take(tx, attempt.transaction_id, self.payer, self.cents)
        return self.cents

    @debit.compensate(retry=STUBBORN)
    def credit_back(self, tx: finality.SyncTx, attempt: finality.Attempt) -> None:
        """Put it back."""
        move(tx, attempt.transaction_id, "debit undone", self.payer, self.cents)

    # The pivot, because money that the payee has could be spent before we took it back.
    @finality.pivot(at="accounts", retry=BRISK)
    def credit(self, tx: finality.SyncTx, debit: int, attempt: finality.Attempt) -> None:
        """Give it to the payee."""
        [(is_closed,)] = tx.execute("SELECT is_closed FROM account WHERE id = ?", self.payee)
        if is_closed:
            raise finality.Refused(f"wallet {self.payee} is closed")
        move(tx, attempt.transaction_id, "credit", self.payee, debit)

    @finality.step(at="ledger", retry=UNTIL_DONE)
    def entry(self, tx: finality.SyncTx, credit: None, attempt: finality.Attempt) -> None:
        """Book it."""
        book(tx, attempt.transaction_id, "entry", debit=self.payer, credit=self.payee, cents=self.cents)

    @finality.step(at="notifications", retry=UNTIL_DONE)
    def notification(self, tx: finality.SyncTx, entry: None, attempt: finality.Attempt) -> None:
        """Tell the payee."""
        notify(tx, attempt.transaction_id, self.payee, f"{dollars(self.cents)} from {self.payer}")


SAGAS: dict[str, type[finality.Saga]] = {"Withdraw": Withdraw, "Transfer": Transfer}
