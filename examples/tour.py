"""Book a tour: hotel, flight, car and payment, all of them or none.

```
    hotel ──┐
    flight ─┼──▶ payment ──▶ approval ───────▶ ticket ──▶ reminder
    car ────┘    a saga of   a signal, with    the        behind
    at once      its own     a deadline        pivot      a timer
```

Watch how the three tours end. Hotel, flight and car are asked at once, since none needs another. The
first tour is approved by a person and goes through. The second one's approval is refused and the
third one's never comes: their payments, a saga of their own, are undone first, backwards, and then
the three bookings.

    python examples/tour.py [FILE.db]
"""

import asyncio
import sys
from dataclasses import dataclass
from datetime import timedelta

import finality


@dataclass(frozen=True)
class Pay(finality.Saga):
    """Pay for a tour in two parts; the tour runs it as one step."""

    traveller: str
    dollars: int

    @finality.step
    def authorisation(self, tx: finality.SyncTx) -> str:
        """Have the money set aside."""
        return told(tx, self.traveller, f"${self.dollars} set aside")

    @authorisation.compensate
    def void(self, tx: finality.SyncTx) -> None:
        """Release it."""
        told(tx, self.traveller, f"${self.dollars} released")

    @finality.step
    def capture(self, tx: finality.SyncTx, authorisation: str) -> str:
        """Take it."""
        return told(tx, self.traveller, f"${self.dollars} taken")

    @capture.compensate
    def refund(self, tx: finality.SyncTx) -> None:
        """Give it back."""
        told(tx, self.traveller, f"${self.dollars} given back")


@dataclass(frozen=True)
class BookTour(finality.Saga, returns="ticket"):
    """Book everything that a tour needs."""

    traveller: str
    city: str

    @finality.step
    def hotel(self, tx: finality.SyncTx) -> str:
        """Book a room."""
        return told(tx, self.traveller, f"hotel in {self.city}")

    @hotel.compensate
    def no_hotel(self, tx: finality.SyncTx) -> None:
        """Give it up."""
        told(tx, self.traveller, "hotel cancelled")

    @finality.step
    async def flight(self, attempt: finality.Attempt) -> str:
        """Book a seat at the airline, a service: it knows the request again by its key."""
        return f"seat in the plane to {self.city}, booked as {attempt.key}"

    @flight.compensate
    async def no_flight(self, flight: str | None, attempt: finality.Attempt) -> None:
        """Give it up; the airline knows it by the key it was booked with."""
        print(f"  {self.traveller}: flight {attempt.undoes} cancelled")

    @finality.step
    async def car(self, tx: finality.Tx) -> str:
        """Rent a car."""
        await tx.execute("INSERT INTO diary VALUES (?, ?)", self.traveller, "car")
        return "a small red one"

    @car.compensate
    async def no_car(self, tx: finality.Tx) -> None:
        """Give it back."""
        await tx.execute("INSERT INTO diary VALUES (?, ?)", self.traveller, "car cancelled")

    @finality.child
    def payment(self, hotel: str, flight: str, car: str) -> Pay:
        """Pay, in a saga of its own."""
        return Pay(self.traveller, 700)

    @finality.step(wait_for=finality.signal("approved", within=timedelta(seconds=1), default=False))
    def approval(self, tx: finality.SyncTx, payment: str, approved: bool) -> None:
        """Have a person look at it; what nobody approves in time is not approved."""
        if not approved:
            raise finality.Refused("not approved")
        told(tx, self.traveller, "approved")

    @finality.pivot
    def ticket(self, tx: finality.SyncTx, approval: None, flight: str, car: str) -> str:
        """Issue the ticket: from here on there is no way back."""
        told(tx, self.traveller, "ticket issued")
        return f"{self.traveller} goes to {self.city}: {flight}; car: {car}"

    @finality.step(wait_for=finality.timer(timedelta(seconds=0.5)))
    def reminder(self, tx: finality.SyncTx, ticket: str) -> None:
        """Remind the traveller. The timer is in the store, so it may as well run for months."""
        told(tx, self.traveller, "reminded to pack")


def told(tx: finality.SyncTx, traveller: str, what: str) -> str:
    """Write something into the diary."""
    tx.execute("INSERT INTO diary VALUES (?, ?)", traveller, what)
    return what


async def main(file: str) -> None:
    """Book three tours."""
    async with finality.open_async(f"sqlite:///{file}", sagas=[BookTour]) as node:
        await node.run(lambda tx: tx.execute("CREATE TABLE IF NOT EXISTS diary (traveller TEXT, entry TEXT)"))
        ada = await node.start(BookTour("ada", "Oslo"), id="tour-ada")
        bob = await node.start(BookTour("bob", "Rome"), id="tour-bob")
        eve = await node.start(BookTour("eve", "Kyiv"), id="tour-eve")
        await node.signal(ada.id, "approved", True, by="the boss")
        await node.signal(bob.id, "approved", False, by="the boss")
        for handle in (ada, bob, eve):
            outcome = await handle.outcome()
            print(f"{handle.id} {outcome.status.value}: {outcome.result or outcome.because}")
            traveller = handle.id.removeprefix("tour-")
            for (entry,) in await node.query("SELECT entry FROM diary WHERE traveller = ?", traveller):
                print(f"  {entry}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "tour.db"))
