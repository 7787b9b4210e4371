"""Nobody conducts: hotel, airline, car rental and bank react to each other's events.

```
   TourRequested ─┬─▶ hotel   ── RoomBooked ───────────┐
                  ├─▶ airline ── SeatBooked ───────────┼─▶ bank ── TourPaid
                  │      └─ SeatRefused ─▶ all undo    │     └─ unless it is too late: TourFailed ─▶ all undo
                  └─▶ cars    ── CarHired ─────────────┤
   a person ──────────────────── TourApproved ─────────┘
```
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import finality
from finality.cli.compare.tour import rules
from finality.cli.compare.tour.rules import Tour
from finality.patterns.reaction import Reaction

TOPIC = "tours"
DEADLINE = timedelta(seconds=20)
PARTS = 4  # What the bank waits for: room, seat, car and approval.


@dataclass(frozen=True)
class TourRequested:
    """Somebody wants a tour."""

    tour: str
    city: str


@dataclass(frozen=True)
class RoomBooked:
    """There is a room."""

    tour: str


@dataclass(frozen=True)
class RoomFree:
    """It is given up."""

    tour: str


@dataclass(frozen=True)
class SeatBooked:
    """There is a seat."""

    tour: str


@dataclass(frozen=True)
class SeatRefused:
    """There is none."""

    tour: str
    because: str


@dataclass(frozen=True)
class SeatFree:
    """It is given up."""

    tour: str


@dataclass(frozen=True)
class CarHired:
    """There is a car."""

    tour: str


@dataclass(frozen=True)
class CarBack:
    """It is given back."""

    tour: str


@dataclass(frozen=True)
class TourApproved:
    """A person agrees."""

    tour: str


@dataclass(frozen=True)
class TourPaid:
    """The money is taken."""

    tour: str


@dataclass(frozen=True)
class TourExpired:
    """The time is over."""

    tour: str


@dataclass(frozen=True)
class TourFailed:
    """No money will be taken."""

    tour: str


@finality.react(TOPIC, by="hotel")
async def room(tx: finality.Tx, requested: TourRequested) -> RoomBooked:
    """Book a room."""
    await rules.book_room(tx.execute, requested.tour)
    return RoomBooked(requested.tour)


@finality.react(TOPIC, by="hotel", undoes=room)
async def no_room(tx: finality.Tx, failed: SeatRefused | TourFailed, booked: RoomBooked | None) -> RoomFree:
    """Give it up."""
    await rules.free_room(tx.execute, failed.tour)
    return RoomFree(failed.tour)


@finality.react(TOPIC, by="airline")
async def seat(tx: finality.Tx, requested: TourRequested) -> SeatBooked | SeatRefused:
    """Book a seat, if there is one."""
    try:
        await rules.book_seat(tx.execute, Tour(requested.tour, requested.city))
    except finality.Refused as refused:
        return SeatRefused(requested.tour, str(refused))
    return SeatBooked(requested.tour)


@finality.react(TOPIC, by="airline", undoes=seat)
async def no_seat(tx: finality.Tx, failed: TourFailed, booked: SeatBooked | SeatRefused | None) -> SeatFree:
    """Give it up."""
    await rules.free_seat(tx.execute, failed.tour)
    return SeatFree(failed.tour)


@finality.react(TOPIC, by="cars")
async def car(tx: finality.Tx, requested: TourRequested) -> CarHired:
    """Hire a car."""
    await rules.hire_car(tx.execute, requested.tour)
    return CarHired(requested.tour)


@finality.react(TOPIC, by="cars", undoes=car)
async def no_car(tx: finality.Tx, failed: SeatRefused | TourFailed, hired: CarHired | None) -> CarBack:
    """Give it back."""
    await rules.return_car(tx.execute, failed.tour)
    return CarBack(failed.tour)


@finality.react(TOPIC, by="bank")
async def payment(
    tx: finality.Tx, part: RoomBooked | SeatBooked | CarHired | TourApproved
) -> TourPaid | None:
    """Take the money once all is there."""
    await tx.execute("INSERT INTO part VALUES ($1, $2, NULL)", part.tour, type(part).__name__)
    parts = (await tx.execute("SELECT count(*) FROM part WHERE tour = $1", part.tour)).scalar()
    if parts < PARTS:
        return None
    await rules.charge(tx.execute, part.tour)
    return TourPaid(part.tour)


@finality.react(TOPIC, by="bank", unless=payment)
async def too_late(tx: finality.Tx, expired: TourExpired) -> TourFailed:
    """Take no money any more."""
    return TourFailed(expired.tour)


def expire(requested: TourRequested) -> TourExpired:
    """Say that the time is over."""
    return TourExpired(requested.tour)


SERVICES: dict[str, tuple[Reaction[..., Any], ...]] = {
    "hotel": (room, no_room),
    "airline": (seat, no_seat),
    "cars": (car, no_car),
    "bank": (payment, too_late),
}

TOUR = finality.Choreography(
    "tour",
    reactions=[reaction for reactions in SERVICES.values() for reaction in reactions],
    begins=TourRequested,
    completes=TourPaid,
    fails=[SeatRefused, TourFailed],
    deadline=DEADLINE,
    expires=expire,
    hears=[TourApproved],
)
