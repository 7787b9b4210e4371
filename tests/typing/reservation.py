"""How reservations read to a type checker: what is held has the type that the class names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NewType, assert_type

import finality

FlightId = NewType("FlightId", str)


@dataclass(frozen=True)
class SeatHold(finality.Reservation[FlightId]):
    seat: str

    async def try_(self, tx: finality.Tx) -> FlightId:
        return FlightId(self.seat)

    def confirm(self, tx: finality.SyncTx, held: FlightId) -> None: ...

    async def cancel(self, tx: finality.Tx, held: FlightId | None) -> None: ...


@dataclass(frozen=True)
class RoomHold(finality.Reservation[None]):
    def try_(self, tx: finality.SyncTx) -> None: ...

    def confirm(self, tx: finality.SyncTx, held: None) -> None: ...

    def cancel(self, tx: finality.SyncTx, held: None) -> None: ...


async def blocks(node: finality.AsyncNode) -> None:
    seats = finality.service("https://seats.example", name="seats", token="t")
    bank = finality.postgres("postgresql:///bank", name="bank")
    async with node.transaction() as tx:
        assert_type(await tx.reserve(SeatHold("12A")), FlightId)
        assert_type(await tx.reserve(SeatHold("12A"), at="hall"), FlightId)
        assert_type(await tx.reserve(SeatHold("12A"), at=seats), FlightId)
        await tx.reserve(RoomHold())
        await tx.reserve("SeatHold")  # type: ignore[arg-type]  # a reservation, not its name
        await tx.reserve(SeatHold("12A"), at=bank)  # type: ignore[arg-type]  # a database does not reserve
        at_seats = await tx.enlist(seats)
        assert_type(await at_seats.reserve("SeatHold", {"seat": "12A"}), Any)
        await at_seats.reserve("SeatHold", SeatHold("12A"), returns=FlightId)


def waiting(node: finality.Node) -> None:
    with node.transaction() as tx:
        assert_type(tx.reserve(SeatHold("12A")), FlightId)


def opened() -> None:
    finality.open("memory://", reservations=[SeatHold, RoomHold])
    finality.open_async("memory://", reservations=[SeatHold])
    finality.open("memory://", reservations=[SeatHold("12A")])  # type: ignore[list-item]  # a class, not a value
