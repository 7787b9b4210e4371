"""The six countermeasures: what stands in for isolation, which a saga does not have.

A small cinema. Each part is a situation in which two sagas get in each other's way, and the one line
that keeps them apart. Watch for what is printed last: no seat is sold twice, no credit is overdrawn.

    python examples/countermeasures.py [FILE.db]
"""

import asyncio
import sys
from dataclasses import dataclass

import finality

TABLES = (
    "CREATE TABLE seats (seat TEXT PRIMARY KEY, holder TEXT)",
    "CREATE TABLE members (name TEXT PRIMARY KEY, credit INTEGER NOT NULL)",
    "CREATE TABLE films (film TEXT PRIMARY KEY, price INTEGER NOT NULL)",
    "INSERT INTO seats VALUES ('12A', NULL), ('12B', NULL)",
    "INSERT INTO members VALUES ('ann', 30), ('bea', 30)",
    "INSERT INTO films VALUES ('Metropolis', 10)",
)


# ── 1. Semantic lock, 2. commutative update, 4. reread value ────────────────────────────────


@dataclass(frozen=True)
class Book(finality.Saga):
    """Book a seat: it is kept while the customer makes up her mind."""

    name: str
    seat: str

    @finality.step(retry=finality.Retry(attempts=1))
    def kept(self, tx: finality.SyncTx) -> None:
        """Keep the seat: until this saga has ended no other gets past this line."""
        tx.lock(f"seat/{self.seat}")
        if tx.execute("SELECT holder FROM seats WHERE seat = ?", self.seat).scalar():
            raise finality.Refused(f"{self.seat} is taken")

    @finality.step
    def film(self, tx: finality.SyncTx) -> finality.Seen:
        """Show the price to the customer, and remember what she was shown."""
        return tx.see("films", {"film": "Metropolis"}, "price")

    @finality.step
    def paid(self, tx: finality.SyncTx, film: finality.Seen) -> None:
        """Pay: say by how much the credit changes, not what it becomes."""
        tx.add("members", {"name": self.name}, credit=-film["price"], at_least=0)

    @paid.compensate
    def pay_back(self, tx: finality.SyncTx, film: finality.Seen) -> None:
        """Undo it by the opposite change, whatever else the credit was used for meanwhile."""
        tx.add("members", {"name": self.name}, credit=film["price"])

    @finality.pivot(wait_for=finality.signal("yes"))
    def booked(self, tx: finality.SyncTx, kept: None, paid: None, film: finality.Seen) -> str:
        """Book, unless the price is not the one any more that she said yes to."""
        tx.reread(film)
        tx.execute("UPDATE seats SET holder = ? WHERE seat = ?", self.name, self.seat)
        return self.seat


# ── 3. Pessimistic view ─────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Return(finality.Saga):
    """Give a seat back: the credit rises last, so that nobody can spend what is taken away again."""

    name: str
    seat: str

    @finality.pivot
    def freed(self, tx: finality.SyncTx) -> None:
        """Free the seat, if it is hers."""
        if tx.execute("SELECT holder FROM seats WHERE seat = ?", self.seat).scalar() != self.name:
            raise finality.Refused(f"{self.seat} is not {self.name}'s")
        tx.execute("UPDATE seats SET holder = NULL WHERE seat = ?", self.seat)

    @finality.step(raises="credit")
    def credited(self, tx: finality.SyncTx, freed: None) -> None:
        """Raise the credit. Before the pivot, this declaration would be an error."""
        tx.add("members", {"name": self.name}, credit=10)


# ── 5. Version file ─────────────────────────────────────────────────────────────────────────


def arrives(tx: finality.SyncTx, operation: str, number: int) -> str:
    """Take what a box office sends about a voucher, in whatever order it comes."""
    arrival = tx.version_file("voucher/1").record(operation, number=number)
    return operation if arrival.is_current else f"{operation}, overtaken by {arrival.overtaken_by}"


# ── 6. By value ─────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class SellVoucher(finality.Saga):
    """Sell a voucher at once."""

    amount: int

    @finality.pivot
    def sold(self, tx: finality.SyncTx) -> str:
        """Sell it."""
        return f"sold at once for {self.amount}"


@dataclass(frozen=True)
class SellDearVoucher(finality.Saga):
    """Sell a voucher once somebody has looked at the buyer."""

    amount: int

    @finality.pivot(wait_for=finality.signal("approval"))
    def sold(self, tx: finality.SyncTx, approval: str) -> str:
        """Sell it."""
        return f"sold for {self.amount}, approved by {approval}"


def voucher(amount: int) -> SellVoucher | SellDearVoucher:
    """Let the amount choose how careful to be."""
    return finality.by_value(amount, 100, below=SellVoucher, above=SellDearVoucher)(amount)


async def reached(node: finality.AsyncNode, id: str, status: str) -> None:
    """Wait until the saga is seen in a status."""
    for _ in range(1_000):
        if id in {head.id for head in await node.transactions(status=status)}:
            return
        await asyncio.sleep(0.01)
    raise TimeoutError(f"saga {id} has not come so far within 10 seconds")


async def seats(node: finality.AsyncNode) -> None:
    """Two customers want seat 12A, and the price changes while one thinks about 12B."""
    ann = await node.start(Book("ann", "12A"), id="ann")
    await reached(node, "ann", "waiting")
    bea = await node.start(Book("bea", "12A"), id="bea")
    print("semantic lock       bea:", (await bea.outcome()).because.partition(" since ")[0])
    await node.signal("ann", "yes")
    print("                    ann:", await ann.result())
    again = await node.start(Book("bea", "12B"), id="bea again")
    await reached(node, "bea again", "waiting")
    await node.run(lambda tx: tx.execute("UPDATE films SET price = 12"))
    await node.signal("bea again", "yes")
    print("reread value        bea:", (await again.outcome()).because.partition(":")[0])
    print("commutative update ", *await node.query("SELECT name, credit FROM members"))


async def main(url: str) -> None:
    """Play the six."""
    async with finality.open_async(url) as node:
        async with node.transaction() as tx:
            for statement in TABLES:
                await tx.execute(statement)
        await seats(node)
        await (await node.start(Return("ann", "12A"))).result()
        print("pessimistic view   ", *await node.query("SELECT name, credit FROM members"))
        print("version file       ", await node.run(lambda tx: arrives(tx, "cancel", 2)))
        print("                   ", await node.run(lambda tx: arrives(tx, "sell", 1)))
        print("by value           ", await (await node.start(voucher(20))).result())
        dear = await node.start(voucher(500), id="dear")
        await node.signal("dear", "approval", "Cleo")
        print("                   ", await dear.result())


if __name__ == "__main__":
    asyncio.run(main(f"sqlite:///{sys.argv[1]}" if len(sys.argv) > 1 else "memory://"))
