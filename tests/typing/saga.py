"""How the saga notation reads to a type checker: what it accepts, and what it must not.

Each line that must be refused carries the error it gets; under ``--strict`` an error that does
not come is an error itself. Nothing here runs.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NewType, assert_type

import finality
from finality.patterns.saga import definition_of
from finality.patterns.step import DeclaredStep
from finality.runtime.definition import Definition

PaymentId = NewType("PaymentId", str)
TicketId = NewType("TicketId", str)


@dataclass(frozen=True)
class BookHotel(finality.Saga):
    nights: int

    @finality.step
    def room(self, tx: finality.SyncTx) -> str:
        return "room"


@dataclass(frozen=True)
class BookTrip(finality.Saga, deadline=timedelta(days=1), returns="ticket", accepts=("3f2a9c01",)):
    card: finality.Secret[str]
    tracks: list[str]

    @finality.step
    async def payment(self, tx: finality.Tx) -> PaymentId:
        assert_type(self.card.reveal(), str)
        return PaymentId("p-1")

    @payment.compensate
    async def refund(self, tx: finality.Tx, payment: PaymentId) -> None: ...

    @finality.step(each="tracks", at_once=8, retry=finality.Retry(attempts=3), timeout=timedelta(seconds=5))
    async def license(self, payment: PaymentId, item: str, attempt: finality.Attempt) -> int:
        return len(item)

    @license.compensate(retry=finality.FOREVER)
    def revoke(self, tx: finality.SyncTx, license: int | None) -> None: ...

    @finality.step(
        wait_for=finality.signal("approval", within=timedelta(days=2), default=False),
        when=lambda self, license: bool(license),
        breaker=finality.Breaker("bank", failures=3),
    )
    def approved(self, tx: finality.SyncTx, license: list[int], approval: bool) -> bool:
        return approval

    @finality.child
    def hotel(self, payment: PaymentId) -> BookHotel:
        return BookHotel(2)

    @finality.pivot(breaker="airline")
    def ticket(self, tx: finality.SyncTx, approved: bool | None, hotel: str) -> TicketId:
        return TicketId("t-1")

    @finality.step(wait_for=finality.timer(timedelta(days=3)))
    async def receipt(self, tx: finality.Tx, ticket: TicketId) -> None: ...


async def accepted(trip: BookTrip, tx: finality.Tx, sync: finality.SyncTx) -> None:
    assert_type(await trip.payment(tx), PaymentId)
    assert_type(trip.ticket(sync, approved=True, hotel="room"), TicketId)
    assert_type(trip.hotel(PaymentId("p-1")), BookHotel)
    await trip.refund(tx, PaymentId("p-1"))
    trip.revoke(sync, None)
    paid: Callable[[finality.Tx], Coroutine[Any, Any, PaymentId]] = trip.payment
    step: DeclaredStep[..., TicketId] = BookTrip.ticket
    assert_type(step.name, str)
    assert_type(definition_of(BookTrip), Definition)
    assert_type(finality.Secret({"a": 1}).reveal(), dict[str, int])
    assert_type(finality.new_secret_key(), str)
    assert paid is not None


async def refused(trip: BookTrip, tx: finality.Tx, sync: finality.SyncTx) -> None:
    await trip.payment()  # type: ignore[call-arg]  # without tx
    trip.ticket(sync, True, room="x")  # type: ignore[call-arg]  # there is no parameter of that name
    trip.ticket(sync, approved=True, hotel=7)  # type: ignore[arg-type]  # each need has its type
    trip.ticket(tx, approved=True, hotel="x")  # type: ignore[arg-type]  # the async tx for a plain function
    await trip.refund(tx, "p-1")  # type: ignore[arg-type]  # compensations have their types too
    trip.payment.compensate(print)  # type: ignore[attr-defined]  # the saga has the method, its class the step
    BookTrip("4111", [])  # type: ignore[arg-type]  # every secret is wrapped
    number: int = trip.card.reveal()  # type: ignore[assignment]  # secrets have the type of its value
    definition_of(str)  # type: ignore[arg-type]  # not a saga
    finality.step(retry=3)  # type: ignore[call-overload]  # attempts are not a retry
    finality.step(timeout=5)  # type: ignore[call-overload]  # times are timedeltas
    finality.step(wait_for="approval")  # type: ignore[call-overload]  # signals are made by signal()
    finality.pivot(each="tracks")  # type: ignore[call-overload]  # pivots run over no list
    finality.child(timeout=timedelta(1))  # type: ignore[call-overload]  # children have deadlines of their own
    finality.signal("approval", timedelta(1))  # type: ignore[call-arg]  # each time says what it is for
    assert number is not None


class InSeconds(finality.Saga, deadline=5):  # type: ignore[arg-type]  # times are timedeltas
    """A deadline of five whats."""


@dataclass(frozen=True)
class Overriding(BookTrip):
    @finality.pivot
    def ticket(self, tx: finality.SyncTx, approved: bool | None, hotel: str) -> TicketId:
        return super().ticket(tx, approved, hotel)
