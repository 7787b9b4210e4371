"""A tour that nobody conducts: room, seat and payment react to each other's events.

Run it: `python examples/choreography.py`. One tour is booked; for another one the plane is full, and
what was done is undone; both are seen as one transaction each.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

import finality


@dataclass(frozen=True)
class TourRequested:
    tour: str
    people: int


@dataclass(frozen=True)
class RoomBooked:
    tour: str
    room: str


@dataclass(frozen=True)
class SeatBooked:
    tour: str


@dataclass(frozen=True)
class SeatRefused:
    tour: str
    because: str


@dataclass(frozen=True)
class TourBooked:
    tour: str


@dataclass(frozen=True)
class TourExpired:
    tour: str


@dataclass(frozen=True)
class TourFailed:
    tour: str


@dataclass(frozen=True)
class RoomFree:
    tour: str


@dataclass(frozen=True)
class SeatFree:
    tour: str


# ── The hotel ───────────────────────────────────────────────────────────────────────────────


@finality.react("tours", by="hotel")
def book_room(tx: finality.SyncTx, requested: TourRequested) -> RoomBooked:
    tx.execute("INSERT INTO room VALUES (?)", requested.tour)
    return RoomBooked(requested.tour, "with a view")


@finality.react("tours", by="hotel", undoes=book_room)
def free_room(tx: finality.SyncTx, failed: SeatRefused | TourFailed, booked: RoomBooked | None) -> RoomFree:
    if booked is not None:
        tx.execute("DELETE FROM room WHERE tour = ?", booked.tour)
    return RoomFree(failed.tour)


# ── The airline ─────────────────────────────────────────────────────────────────────────────


@finality.react("tours", by="airline")
def book_seat(tx: finality.SyncTx, requested: TourRequested) -> SeatBooked | SeatRefused:
    if requested.people > 100:
        return SeatRefused(requested.tour, "the plane is full")
    tx.execute("INSERT INTO seat VALUES (?)", requested.tour)
    return SeatBooked(requested.tour)


@finality.react("tours", by="airline", undoes=book_seat)
def free_seat(tx: finality.SyncTx, failed: TourFailed, booked: SeatBooked | None) -> SeatFree:
    tx.execute("DELETE FROM seat WHERE tour = ?", failed.tour)
    return SeatFree(failed.tour)


# ── The travel agency ───────────────────────────────────────────────────────────────────────


@finality.react("tours", by="agency")
def confirm(tx: finality.SyncTx, booked: RoomBooked | SeatBooked) -> TourBooked | None:
    tx.execute("INSERT INTO part VALUES (?, ?) ON CONFLICT DO NOTHING", booked.tour, type(booked).__name__)
    parts = tx.execute("SELECT count(*) FROM part WHERE tour = ?", booked.tour).scalar()
    return TourBooked(booked.tour) if parts == 2 else None


@finality.react("tours", by="agency", unless=confirm)
def give_up(tx: finality.SyncTx, expired: TourExpired) -> TourFailed:
    return TourFailed(expired.tour)


def expired(requested: TourRequested) -> TourExpired:
    return TourExpired(requested.tour)


TOUR = finality.Choreography(
    "tour",
    reactions=[book_room, free_room, book_seat, free_seat, confirm, give_up],
    begins=TourRequested,
    completes=TourBooked,
    fails=[SeatRefused, TourFailed],
    deadline=timedelta(minutes=5),
    expires=expired,
)


def main() -> None:
    """Book two tours in one process; each service may as well have its own, and its own home."""
    with finality.open(
        "memory://tours", broker="memory://tours", reactions=TOUR.reactions, choreographies=[TOUR]
    ) as node:
        with node.transaction() as tx:
            tx.execute("CREATE TABLE room (tour TEXT)")
            tx.execute("CREATE TABLE seat (tour TEXT)")
            tx.execute("CREATE TABLE part (tour TEXT, what TEXT, UNIQUE (tour, what))")
            tx.publish("tours", TourRequested("alps", 2), key="alps")
            tx.publish("tours", TourRequested("moon", 1_000), key="moon")
        while len(runs := node.transactions(kind="tour", is_open=False)) < 2:
            time.sleep(0.01)
        for run in runs:
            print(node.explain(run.id))
        print("rooms:", node.query("SELECT tour FROM room"), "seats:", node.query("SELECT tour FROM seat"))


if __name__ == "__main__":
    main()
