"""Sagas from threads: the synchronous face, as a Flask or Django view would use it.

Watch for what is *not* there. Twenty orders arrive on eight threads, and each is sent twice, as
impatient people and proxies do. Both answers to an order are the same, and no order has two parcels:
its number is the saga's id, and an id stands for one saga for ever.

`finality.open()` gives a node whose methods are called without `await`, from any thread. Open one when
the process begins and share it; below, `app` stands for the web framework.

    python examples/flask_like.py [FILE.db]
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import finality


@dataclass(frozen=True)
class Buy(finality.Saga):
    """Sell one book."""

    title: str
    customer: str

    @finality.step
    def copy(self, tx: finality.SyncTx) -> None:
        """Take a copy from the shelf."""
        [(copies,)] = tx.execute("SELECT copies FROM shelf WHERE title = ?", self.title)
        if not copies:
            raise finality.Refused("sold out")
        tx.execute("UPDATE shelf SET copies = copies - 1 WHERE title = ?", self.title)

    @copy.compensate
    def put_back(self, tx: finality.SyncTx) -> None:
        """Put it back."""
        tx.execute("UPDATE shelf SET copies = copies + 1 WHERE title = ?", self.title)

    @finality.step
    def charge(self, copy: None, attempt: finality.Attempt) -> str:
        """Charge the customer: a plain function without `tx` runs in a thread, so it may block."""
        if self.customer.endswith("3"):
            raise finality.Refused(f"{self.customer}'s card is declined")
        return f"paid with {attempt.key}"

    @charge.compensate
    def refund(self, charge: str | None) -> None:
        """Pay it back, if it was paid."""

    @finality.pivot
    def parcel(self, tx: finality.SyncTx, charge: str) -> str:
        """Send it."""
        tx.execute("INSERT INTO parcel VALUES (?, ?)", self.customer, self.title)
        return f"{self.title} is on its way to {self.customer}, {charge}"


class App:
    """What a web framework would call: one method a route, on whichever thread is free."""

    def __init__(self, node: finality.Node) -> None:
        self.node = node

    def post_order(self, number: str, title: str, customer: str) -> tuple[int, str]:
        """Answer ``POST /orders/<number>``."""
        outcome = self.node.start(Buy(title, customer), id=number).outcome(timeout=30)
        if outcome == finality.COMPLETED:
            return 201, str(outcome.result)
        return 409, outcome.because

    def get_order(self, number: str) -> tuple[int, str]:
        """Answer ``GET /orders/<number>``."""
        try:
            return 200, str(self.node.explain(number))
        except finality.NotFound as error:
            return 404, str(error)


def main(file: str) -> None:
    """Serve some requests."""
    with finality.open(f"sqlite:///{file}", sagas=[Buy]) as node:
        with node.transaction() as tx:
            tx.execute("CREATE TABLE IF NOT EXISTS shelf (title TEXT PRIMARY KEY, copies INTEGER)")
            tx.execute("CREATE TABLE IF NOT EXISTS parcel (customer TEXT, title TEXT)")
            tx.execute("INSERT OR IGNORE INTO shelf VALUES ('Sagas', 25), ('Leases', 5)")
        app = App(node)
        requests = [
            (f"order-{number}", "Sagas" if number % 2 else "Leases", f"customer-{number}")
            for number in range(1, 21)
        ]
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda request: app.post_order(*request), requests * 2))
        for (number, *_), answer in zip(requests, answers, strict=False):
            print(number, *answer)
        first, second = answers[:20], answers[20:]
        print(f"sent twice, answered alike: {first == second}")
        for title, copies in node.query("SELECT title, copies FROM shelf ORDER BY title"):
            [(parcels,)] = node.query("SELECT count(*) FROM parcel WHERE title = ?", title)
            print(f"{title}: {copies} on the shelf, {parcels} parcels")
        print(*app.get_order("order-3"))
        print(*app.get_order("order-99"))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "flask_like.db")
