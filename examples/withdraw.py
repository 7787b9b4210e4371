"""Withdraw $100: the smallest saga that is worth one.

Watch for two things. The first withdrawal completes: the account has $100 less, and the card was paid.
The second one's card is refused after the account was debited; the money is back on the account,
and the last lines say what happened in between. Kill the program anywhere, run it again on the same
file, and it comes to the same end.

    python examples/withdraw.py [FILE.db]
"""

import asyncio
import sys
from dataclasses import dataclass

import finality


@dataclass(frozen=True)
class Withdraw(finality.Saga):
    """Take money from an account and pay it to a card."""

    account: str
    dollars: int
    card: str

    @finality.step
    def debit(self, tx: finality.SyncTx) -> None:
        """Take the money: this and the record of it are one commit."""
        tx.execute("UPDATE account SET dollars = dollars - ? WHERE id = ?", self.dollars, self.account)

    @debit.compensate
    def credit(self, tx: finality.SyncTx) -> None:
        """Put it back, if the card cannot be paid."""
        tx.execute("UPDATE account SET dollars = dollars + ? WHERE id = ?", self.dollars, self.account)

    @finality.pivot
    async def payment(self, debit: None, attempt: finality.Attempt) -> str:
        """Pay the card: any service will do that knows a request again by its key."""
        return await pay(self.card, self.dollars, idempotency_key=attempt.key)


async def pay(card: str, dollars: int, *, idempotency_key: str) -> str:
    """Stand where your payment provider's client would be."""
    if card == "expired":
        raise finality.Refused("card expired")
    return f"receipt for ${dollars} ({idempotency_key})"


async def main(file: str) -> None:
    """Withdraw twice."""
    async with finality.open_async(f"sqlite:///{file}", sagas=[Withdraw]) as node:
        await node.run(
            lambda tx: tx.execute("CREATE TABLE IF NOT EXISTS account (id TEXT PRIMARY KEY, dollars INTEGER)")
        )
        await node.run(lambda tx: tx.execute("INSERT OR IGNORE INTO account VALUES ('ada', 500)"))

        for id, card in (("withdrawal-1", "visa"), ("withdrawal-2", "expired")):
            handle = await node.start(Withdraw("ada", 100, card), id=id)
            outcome = await handle.outcome()
            [(dollars,)] = await node.query("SELECT dollars FROM account WHERE id = 'ada'")
            print(f"{id} {outcome.status.value}: {outcome.result or outcome.because}; ada has ${dollars}")
        print(await node.explain("withdrawal-2"))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "withdraw.db"))
