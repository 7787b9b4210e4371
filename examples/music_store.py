"""A music store: every purchase of a year's books, executed again as a durable saga.

```
    licence (one a line) ──▶ charge ──▶ invoice ──▶ delivery (one a line) ──▶ receipt
    └────────── can be undone ───────┘  (pivot)     └──────── cannot fail for good ─┘
```

The input is a directory of CSV files with the tables of the Chinook sample database: Customer, Track,
Invoice and InvoiceLine. Watch for three things:

- Kill it (`kill -9`) in the middle and run it again: it goes on where it was, and the totals at the
  end are those of Invoice.csv to the cent, by invoice, by customer and by country.
- `--decline 7` declines the card of each seventh customer: their licences are given back.
- A purchase is one class. Its methods are its steps, and their parameters say what they need.

Run it:

    python examples/music_store.py --generate music
    python examples/music_store.py music --store sqlite:///music.db
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import finality

AT_ONCE = 32  # Purchases in flight; the others wait, as customers do.

SCHEMA = """
    CREATE TABLE IF NOT EXISTS track    (id INTEGER PRIMARY KEY, name TEXT, cents INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS customer (id INTEGER PRIMARY KEY, name TEXT, is_declined INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS licence  (invoice INTEGER, line INTEGER, track INTEGER, copies INTEGER,
                                         is_delivered INTEGER NOT NULL, UNIQUE (invoice, line));
    CREATE TABLE IF NOT EXISTS charge   (invoice INTEGER, customer INTEGER, cents INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS invoice  (id INTEGER, customer INTEGER, country TEXT, day TEXT, cents INTEGER);
    CREATE TABLE IF NOT EXISTS receipt  (invoice INTEGER, text TEXT NOT NULL)
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a purchase."""

    id: int
    track: int
    cents: int
    copies: int


@dataclass(frozen=True)
class Purchase(finality.Saga):
    """One customer buys some tracks."""

    number: int
    customer: int
    country: str
    day: str
    lines: list[Line]

    @finality.step(each="lines")
    def licence(self, tx: finality.SyncTx, item: Line) -> int:
        """Take a licence for each track of the purchase; yield what it costs."""
        [(cents,)] = tx.execute("SELECT cents FROM track WHERE id = ?", item.track)
        if cents != item.cents:
            raise finality.Refused(f"track {item.track} costs {dollars(cents)}, not {dollars(item.cents)}")
        tx.execute(
            "INSERT INTO licence VALUES (?, ?, ?, ?, 0)", self.number, item.id, item.track, item.copies
        )
        return int(cents) * item.copies

    @licence.compensate
    def release(self, tx: finality.SyncTx, item: Line) -> None:
        """Give the licence back."""
        tx.execute("DELETE FROM licence WHERE invoice = ? AND line = ?", self.number, item.id)

    @finality.step
    def charge(self, tx: finality.SyncTx, licence: list[int]) -> int:
        """Charge the customer's card for all of them."""
        [(is_declined,)] = tx.execute("SELECT is_declined FROM customer WHERE id = ?", self.customer)
        if is_declined:
            raise finality.Refused("card declined")
        total = sum(licence)
        tx.execute("INSERT INTO charge VALUES (?, ?, ?)", self.number, self.customer, total)
        return total

    @charge.compensate
    def refund(self, tx: finality.SyncTx, charge: int) -> None:
        """Pay it back: the charge stays on the customer's statement, and so does the refund."""
        tx.execute("INSERT INTO charge VALUES (?, ?, ?)", self.number, self.customer, -charge)

    @finality.pivot
    def invoice(self, tx: finality.SyncTx, charge: int) -> int:
        """Issue the invoice: from here on there is no way back."""
        tx.execute(
            "INSERT INTO invoice VALUES (?, ?, ?, ?, ?)",
            self.number, self.customer, self.country, self.day, charge,
        )  # fmt: skip
        return charge

    @finality.step(each="lines")
    def delivery(self, tx: finality.SyncTx, item: Line, invoice: int) -> None:
        """Let the customer download the track."""
        tx.execute("UPDATE licence SET is_delivered = 1 WHERE invoice = ? AND line = ?", self.number, item.id)

    @finality.step
    def receipt(self, tx: finality.SyncTx, delivery: list[None], invoice: int) -> None:
        """Send the receipt, once everything is delivered."""
        text = f"{len(delivery)} tracks, {dollars(invoice)}"
        tx.execute("INSERT INTO receipt VALUES (?, ?)", self.number, text)


# ── Running it ──────────────────────────────────────────────────────────────────────────────


async def replay(data: Path, store: str, *, decline: int) -> bool:
    """Execute every purchase in *data*; return whether the store's books are those of the data."""
    purchases = list(read_purchases(data))
    async with finality.open_async(store, sagas=[Purchase], lease=timedelta(seconds=2)) as node:
        await node.run(lambda tx: fill(tx, data, decline))
        outcomes = await buy(node, purchases)
        declined = {number for number, outcome in outcomes.items() if outcome == finality.COMPENSATED}
        for number in sorted(declined)[:3]:
            print(f"invoice {number} was undone: {outcomes[number].because}")
        return await check(node, data, declined)


def fill(tx: finality.SyncTx, data: Path, decline: int) -> None:
    """Create the store's tables and catalogue, unless they are there."""
    for statement in SCHEMA.split(";"):
        tx.execute(statement)
    for row in rows(data, "Track"):
        tx.execute(
            "INSERT OR IGNORE INTO track VALUES (?, ?, ?)",
            int(row["TrackId"]), row["Name"], cents_of(row["UnitPrice"]),
        )  # fmt: skip
    for row in rows(data, "Customer"):
        id = int(row["CustomerId"])
        is_declined = decline > 0 and id % decline == 0
        name = f"{row['FirstName']} {row['LastName']}"
        tx.execute("INSERT OR IGNORE INTO customer VALUES (?, ?, ?)", id, name, int(is_declined))


async def buy(node: finality.AsyncNode, purchases: list[Purchase]) -> dict[int, finality.Outcome]:
    """Execute *purchases*, each under its own id, so that a second run finds the first one's."""
    outcomes: dict[int, finality.Outcome] = {}
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(purchase: Purchase) -> None:
        async with turns:
            handle = await node.start(purchase, id=f"invoice-{purchase.number}")
            outcomes[purchase.number] = await handle.outcome()
        if len(outcomes) % 20 == 0 or len(outcomes) == len(purchases):
            print(f"{len(outcomes)} of {len(purchases)} purchases", flush=True)

    async with asyncio.TaskGroup() as group:
        for purchase in purchases:
            group.create_task(one(purchase))
    return outcomes


async def check(node: finality.AsyncNode, data: Path, declined: set[int]) -> bool:
    """Compare the store's books with Invoice.csv, to the cent."""
    issued = await node.query("SELECT id, customer, country, cents FROM invoice")
    expected = [
        (int(row["InvoiceId"]), int(row["CustomerId"]), row["BillingCountry"], cents_of(row["Total"]))
        for row in rows(data, "Invoice")
        if int(row["InvoiceId"]) not in declined
    ]
    charged = await node.query(
        "SELECT invoice, customer, '', sum(cents) FROM charge GROUP BY 1 HAVING sum(cents) <> 0"
    )
    [(left, undelivered)] = await node.query(
        "SELECT count(*) FILTER (WHERE i.id IS NULL), count(*) FILTER (WHERE l.is_delivered = 0)"
        " FROM licence l LEFT JOIN invoice i ON i.id = l.invoice"
    )
    # fmt: off
    found = {
        "each invoice":           sorted(issued) == sorted(expected),
        "the sum by customer":    sums(issued, 1) == sums(expected, 1),
        "the sum by country":     sums(issued, 2) == sums(expected, 2),
        "what cards were charged": sums(charged, 0) == sums(expected, 0),
        "licences without invoice or delivery: none": not left and not undelivered,
    }
    # fmt: on
    for what, is_right in found.items():
        print(f"{'equal' if is_right else 'WRONG'}  {what}")
    total = sum(row[3] for row in issued)
    countries = sums(issued, 2).most_common(3)
    print(f"{len(issued)} invoices over {dollars(total)}, {len(declined)} purchases undone; most in", end=" ")
    print(", ".join(f"{country} {dollars(cents)}" for country, cents in countries))
    return all(found.values())


def sums(books: Iterable[tuple[Any, ...]], column: int) -> Counter[Any]:
    """Return the cents, which stand in the last column, by what stands in *column*."""
    total: Counter[Any] = Counter()
    for row in books:
        total[row[column]] += row[3]
    return total


# ── Reading and writing the data ────────────────────────────────────────────────────────────


def rows(data: Path, table: str) -> list[dict[str, str]]:
    """Return a table's rows."""
    with (data / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_purchases(data: Path) -> Iterable[Purchase]:
    """Yield a purchase for each invoice."""
    lines: dict[str, list[Line]] = {}
    for row in rows(data, "InvoiceLine"):
        line = Line(
            int(row["InvoiceLineId"]), int(row["TrackId"]), cents_of(row["UnitPrice"]), int(row["Quantity"])
        )
        lines.setdefault(row["InvoiceId"], []).append(line)
    for row in rows(data, "Invoice"):
        id = row["InvoiceId"]
        day = row["InvoiceDate"].partition(" ")[0]
        yield Purchase(int(id), int(row["CustomerId"]), row["BillingCountry"], day, lines[id])


def cents_of(price: str) -> int:
    """Return a price as a whole number of cents: money is never a float."""
    cents = Decimal(price) * 100
    assert cents == int(cents), f"{price} has parts of a cent"
    return int(cents)


def dollars(cents: int) -> str:
    """Return an amount as people write it."""
    return f"${cents // 100:,}.{cents % 100:02}"


def generate(data: Path, *, seed: int, invoices: int) -> None:
    """Write a small store of the same schema: *seed* decides everything in it."""
    dice = Random(seed)
    countries = ["Brazil", "Canada", "Chile", "France", "Germany", "India", "Norway", "USA"]
    tracks = [(id, f"Track {id}", dice.choice(["0.99", "0.99", "0.99", "1.99"])) for id in range(1, 301)]
    customers = [(id, "Ada", f"Customer {id}", dice.choice(countries)) for id in range(1, 41)]
    invoice_rows: list[tuple[Any, ...]] = []
    line_rows: list[tuple[Any, ...]] = []
    for id in range(1, invoices + 1):
        customer, _, _, country = dice.choice(customers)
        total = Decimal(0)
        for track, _, price in dice.sample(tracks, dice.choice([1, 2, 2, 4, 6, 9, 14])):
            copies = dice.choice([1, 1, 1, 2])
            line_rows.append((len(line_rows) + 1, id, track, price, copies))
            total += Decimal(price) * copies
        day = date(2021, 1, 1) + timedelta(days=id)
        invoice_rows.append((id, customer, f"{day} 00:00:00", country, total))
    data.mkdir(parents=True, exist_ok=True)
    write(data, "Track", "TrackId,Name,UnitPrice", tracks)
    write(data, "Customer", "CustomerId,FirstName,LastName,Country", customers)
    write(data, "Invoice", "InvoiceId,CustomerId,InvoiceDate,BillingCountry,Total", invoice_rows)
    write(data, "InvoiceLine", "InvoiceLineId,InvoiceId,TrackId,UnitPrice,Quantity", line_rows)
    print(f"{invoices} invoices with {len(line_rows)} lines are in {data}")


def write(data: Path, table: str, header: str, content: Iterable[tuple[Any, ...]]) -> None:
    """Write a table."""
    with (data / f"{table}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header.split(","))
        writer.writerows(content)


def main() -> None:
    """Generate data, or replay them."""
    parser = argparse.ArgumentParser(description="Execute a music store's purchases as durable sagas.")
    parser.add_argument("data", type=Path, nargs="?", help="the directory of CSV files")
    parser.add_argument(
        "--store", default="sqlite:///music.db", help="where the sagas and the books are kept"
    )
    parser.add_argument(
        "--decline", type=int, default=0, metavar="N", help="decline each N-th customer's card"
    )
    parser.add_argument("--generate", type=Path, metavar="DIR", help="write a data set instead")
    parser.add_argument("--seed", type=int, default=1, help="of the data set")
    parser.add_argument("--invoices", type=int, default=200, help="in the data set")
    arguments = parser.parse_args()
    if arguments.generate is not None:
        generate(arguments.generate, seed=arguments.seed, invoices=arguments.invoices)
    elif arguments.data is None:
        parser.error("name a directory of CSV files, or --generate one")
    elif not asyncio.run(replay(arguments.data, arguments.store, decline=arguments.decline)):
        sys.exit("the books differ from the data")


if __name__ == "__main__":
    main()
