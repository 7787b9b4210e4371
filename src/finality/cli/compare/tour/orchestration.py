"""A saga conducts: it asks hotel, airline and car rental, waits for approval, and has the bank charge."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import finality
from finality.cli.compare.tour import rules
from finality.cli.compare.tour.rules import Tour

APPROVED = "approved"
DEADLINE = timedelta(seconds=20)


@dataclass(frozen=True)
class BookTour(finality.Saga):
    """Room, seat and car at once, then the approval, then the money."""

    tour: Tour

    @finality.step(at="hotel")
    async def room(self, tx: finality.Tx) -> None:
        """Book a room."""
        await rules.book_room(tx.execute, self.tour.id)

    @room.compensate
    async def no_room(self, tx: finality.Tx) -> None:
        """Give it up."""
        await rules.free_room(tx.execute, self.tour.id)

    @finality.step(at="airline")
    async def seat(self, tx: finality.Tx) -> None:
        """Book a seat, if there is one."""
        await rules.book_seat(tx.execute, self.tour)

    @seat.compensate
    async def no_seat(self, tx: finality.Tx) -> None:
        """Give it up."""
        await rules.free_seat(tx.execute, self.tour.id)

    @finality.step(at="cars")
    async def car(self, tx: finality.Tx) -> None:
        """Hire a car."""
        await rules.hire_car(tx.execute, self.tour.id)

    @car.compensate
    async def no_car(self, tx: finality.Tx) -> None:
        """Give it back."""
        await rules.return_car(tx.execute, self.tour.id)

    @finality.step(wait_for=finality.signal(APPROVED, within=DEADLINE, default=False))
    def approval(self, room: None, seat: None, car: None, approved: bool) -> None:
        """Have a person look at it."""
        if not approved:
            raise finality.Refused("nobody has approved it in time")

    @finality.pivot(at="bank")
    async def payment(self, tx: finality.Tx, approval: None) -> None:
        """Take the money."""
        await rules.charge(tx.execute, self.tour.id)
