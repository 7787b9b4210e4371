"""Wallets: transfers as fast as they go, and the audit trail of one that failed.

Watch for three things: the rate, with every step durable before the next one begins; the sum of all
wallets, which is the same after two thousand transfers, the refused ones included; and the trail of
a refused transfer, which says who did what, when, at which attempt and why.

    python examples/wallet.py [FILE.db] [TRANSFERS]
"""

import asyncio
import sys
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random

import finality

WALLETS = 100
AT_ONCE = 200


@dataclass(frozen=True)
class Transfer(finality.Saga):
    """Move cents from one wallet to another."""

    payer: int
    payee: int
    cents: int

    @finality.step
    def debit(self, tx: finality.SyncTx) -> None:
        """Take them from the payer, who must have them."""
        [(balance,)] = tx.execute("SELECT cents FROM wallet WHERE id = ?", self.payer)
        if balance < self.cents:
            raise finality.Refused(f"wallet {self.payer} has {balance} cents, {self.cents} are needed")
        tx.execute("UPDATE wallet SET cents = cents - ? WHERE id = ?", self.cents, self.payer)

    @debit.compensate
    def give_back(self, tx: finality.SyncTx) -> None:
        """Put them back."""
        tx.execute("UPDATE wallet SET cents = cents + ? WHERE id = ?", self.cents, self.payer)

    @finality.pivot
    def credit(self, tx: finality.SyncTx, debit: None) -> None:
        """Give them to the payee, whose wallet must not be frozen."""
        [(is_frozen,)] = tx.execute("SELECT is_frozen FROM wallet WHERE id = ?", self.payee)
        if is_frozen:
            raise finality.Refused(f"wallet {self.payee} is frozen")
        tx.execute("UPDATE wallet SET cents = cents + ? WHERE id = ?", self.cents, self.payee)

    @finality.step
    def entry(self, tx: finality.SyncTx, credit: None, attempt: finality.Attempt) -> None:
        """Book it."""
        for wallet, cents in ((self.payer, -self.cents), (self.payee, self.cents)):
            tx.execute("INSERT INTO ledger VALUES (?, ?, ?)", attempt.transaction_id, wallet, cents)


def found(tx: finality.SyncTx) -> None:
    """Create the wallets, unless they are there; every tenth is frozen."""
    tx.execute(
        "CREATE TABLE IF NOT EXISTS wallet"
        " (id INTEGER PRIMARY KEY, cents INTEGER CHECK (cents >= 0), is_frozen INTEGER)"
    )
    tx.execute("CREATE TABLE IF NOT EXISTS ledger (saga TEXT, wallet INTEGER, cents INTEGER)")
    for id in range(WALLETS):
        tx.execute("INSERT OR IGNORE INTO wallet VALUES (?, 10000, ?)", id, int(id % 10 == 9))


async def main(file: str, transfers: int) -> None:
    """Transfer."""
    dice = Random(1)
    async with finality.open_async(f"sqlite:///{file}", sagas=[Transfer]) as node:
        await node.run(found)
        outcomes: list[finality.Outcome] = []
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(transfer: Transfer) -> None:
            async with turns:
                handle = await node.start(transfer)
                outcomes.append(await handle.outcome())

        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(transfers):
                payer, payee = dice.sample(range(WALLETS), 2)
                group.create_task(one(Transfer(payer, payee, dice.randrange(1, 5_000))))
        seconds = time.perf_counter() - began

        ended = Counter(outcome.status.value for outcome in outcomes)
        print(f"{transfers / seconds:,.0f} transfers a second: {dict(ended)}")
        [(total,)] = await node.query("SELECT sum(cents) FROM wallet")
        [(booked,)] = await node.query("SELECT sum(cents) FROM ledger")
        print(f"{WALLETS} wallets hold {total} cents, as in the beginning; the ledger sums to {booked}")

        undone = next(o for o in outcomes if o == finality.COMPENSATED and "frozen" in o.because)
        print(f"the audit trail of {undone.id}:")
        for recorded in await node.history(undone.id):
            at = datetime.fromtimestamp(recorded.at, UTC)
            print(f"  {at:%H:%M:%S.%f}  {recorded.by}  {recorded.event}")


if __name__ == "__main__":
    file = sys.argv[1] if len(sys.argv) > 1 else "wallet.db"
    transfers = int(sys.argv[2]) if len(sys.argv) > 2 else 2_000
    asyncio.run(main(file, transfers))
