"""What each party of a tour does in its own database: the same for whoever conducts it, or nobody."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import finality

Execute = Callable[..., Awaitable[Any]]
"""Runs a statement in the database of one party."""

FULL = "Moon"  # Where no plane has a seat left.
PRICE = 700
TABLES = {
    "hotel": "CREATE TABLE room (tour TEXT PRIMARY KEY)",
    "airline": "CREATE TABLE seat (tour TEXT PRIMARY KEY)",
    "cars": "CREATE TABLE car (tour TEXT PRIMARY KEY)",
    "bank": "CREATE TABLE part (tour TEXT, what TEXT, dollars INTEGER, PRIMARY KEY (tour, what))",
}
BOOKED = {
    "hotel": "SELECT tour FROM room",
    "airline": "SELECT tour FROM seat",
    "cars": "SELECT tour FROM car",
    "bank": "SELECT tour FROM part WHERE what = 'charge'",
}
"""The tours that each party has something for."""


@dataclass(frozen=True)
class Tour:
    """Where somebody wants to go."""

    id: str
    city: str


async def book_room(execute: Execute, tour: str) -> None:
    """Book a room."""
    await execute("INSERT INTO room VALUES ($1)", tour)


async def free_room(execute: Execute, tour: str) -> None:
    """Give it up."""
    await execute("DELETE FROM room WHERE tour = $1", tour)


async def book_seat(execute: Execute, tour: Tour) -> None:
    """Book a seat.

    Raises:
        Refused: The plane is full.
    """
    if tour.city == FULL:
        raise finality.Refused(f"no seat is left to {tour.city}")
    await execute("INSERT INTO seat VALUES ($1)", tour.id)


async def free_seat(execute: Execute, tour: str) -> None:
    """Give it up."""
    await execute("DELETE FROM seat WHERE tour = $1", tour)


async def hire_car(execute: Execute, tour: str) -> None:
    """Hire a car."""
    await execute("INSERT INTO car VALUES ($1)", tour)


async def return_car(execute: Execute, tour: str) -> None:
    """Give it back."""
    await execute("DELETE FROM car WHERE tour = $1", tour)


async def charge(execute: Execute, tour: str) -> None:
    """Take the money: from here on there is no way back."""
    await execute("INSERT INTO part VALUES ($1, 'charge', $2)", tour, PRICE)
