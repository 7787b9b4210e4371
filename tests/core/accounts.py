"""An aggregate that the tests of event sourcing share: an account, and a course with its seats."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self, assert_never

import finality


@dataclass(frozen=True)
class Deposited:
    amount: int


@dataclass(frozen=True)
class Withdrawn:
    amount: int


@dataclass(frozen=True)
class Account(finality.Aggregate[Deposited | Withdrawn], snapshot_every=5):
    balance: int = 0

    def deposit(self, amount: int) -> Deposited:
        return Deposited(amount)

    def withdraw(self, amount: int) -> Withdrawn:
        if amount > self.balance:
            raise finality.Refused(f"not enough money: {self.balance}")
        return Withdrawn(amount)

    def evolve(self, event: Deposited | Withdrawn) -> Self:
        match event:
            case Deposited(amount):
                return replace(self, balance=self.balance + amount)
            case Withdrawn(amount):
                return replace(self, balance=self.balance - amount)
        assert_never(event)


@finality.event(tags=["course", "student"])
@dataclass(frozen=True)
class SeatTaken:
    course: str
    student: str


@finality.event(tags=["course"])
@dataclass(frozen=True)
class CourseOpened:
    course: str
    seats: int
