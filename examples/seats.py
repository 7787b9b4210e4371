"""Book a trip: a hotel room in the own store and a seat at an airline's service, both or neither.

Watch for three things. Ada gets a room and a seat. The seat that Bob wants is taken, so he tries
another one, in the same transaction. Eve's seat can be had, but the last room is gone: nothing of
her trip remains, at the airline neither. Kill the program anywhere and run it again on the same
files: what was held is confirmed or cancelled, as it was decided.

    pip install 'finality[http]' uvicorn
    python examples/seats.py [DIRECTORY]
"""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import uvicorn

import finality
import finality.http

TOKEN = "airline-knows-this-token"


@dataclass(frozen=True)
class SeatHold(finality.Reservation[str], expires=timedelta(minutes=5)):
    """A seat, at the airline: it is free, held or sold."""

    seat: str

    def try_(self, tx: finality.SyncTx) -> str:
        """Hold it, if it is free."""
        state = tx.execute("SELECT state FROM seat WHERE id = ?", self.seat).scalar()
        if state != "free":
            raise finality.Refused(f"seat {self.seat} is {state or 'not there'}")
        tx.execute("UPDATE seat SET state = 'held' WHERE id = ?", self.seat)
        return f"ticket-{self.seat}"

    def confirm(self, tx: finality.SyncTx, held: str) -> None:
        """Sell it."""
        tx.execute("UPDATE seat SET state = 'sold' WHERE id = ?", self.seat)

    def cancel(self, tx: finality.SyncTx, held: str) -> None:
        """Give it back."""
        tx.execute("UPDATE seat SET state = 'free' WHERE id = ?", self.seat)


@dataclass(frozen=True)
class RoomHold(finality.Reservation[None]):
    """One room of the hotel's: what is free becomes held, and what is held booked."""

    guest: str

    async def try_(self, tx: finality.Tx) -> None:
        """Hold one, if there is one."""
        await tx.add("rooms", {"id": 1}, free=-1, held=1, at_least=0)

    async def confirm(self, tx: finality.Tx, held: None) -> None:
        """Book it."""
        await tx.add("rooms", {"id": 1}, held=-1)
        await tx.execute("INSERT INTO booking VALUES (?)", self.guest)

    async def cancel(self, tx: finality.Tx, held: None) -> None:
        """Give it back."""
        await tx.add("rooms", {"id": 1}, free=1, held=-1)


@contextlib.asynccontextmanager
async def airline(folder: Path) -> AsyncIterator[str]:
    """Stand where the airline's service is: any ASGI server serves it, or any app mounts it."""
    async with finality.open_async(f"sqlite:///{folder}/airline.db") as node:
        await node.run(
            lambda tx: tx.execute("CREATE TABLE IF NOT EXISTS seat (id TEXT PRIMARY KEY, state TEXT)")
        )
        await node.run(
            lambda tx: tx.execute(
                "INSERT OR IGNORE INTO seat VALUES ('1A', 'free'), ('1B', 'free'), ('1C', 'free')"
            )
        )
        app = finality.http.participant(node, reservations=[SeatHold], tokens=[TOKEN])
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", ws="none"))
        listening = socket.create_server(("127.0.0.1", 0))
        serving = asyncio.ensure_future(server.serve([listening]))
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        await serving
        print("seats: ", dict(await node.query("SELECT id, state FROM seat ORDER BY id")))


async def book(node: finality.AsyncNode, seats: Any, guest: str, wanted: list[str]) -> None:
    """Book the first of the seats that can be had, and a room."""
    try:
        async with node.transaction(deadline=timedelta(seconds=10)) as tx:
            ticket = await first_of(tx, seats, wanted)
            await tx.reserve(RoomHold(guest))
    except finality.Refused as refused:
        print(f"{guest}: {refused}")
    else:
        print(f"{guest}: {ticket} and a room")


async def first_of(tx: finality.Transaction, seats: Any, wanted: list[str]) -> str:
    """Hold the first seat that can be had: a refusal that is caught harms nothing."""
    for seat in wanted[:-1]:
        with contextlib.suppress(finality.Refused):
            return await tx.reserve(SeatHold(seat), at=seats)
    return await tx.reserve(SeatHold(wanted[-1]), at=seats)


async def main(folder: Path) -> None:
    """Let three guests book."""
    async with airline(folder) as url:
        seats = finality.service(url, name="airline", token=TOKEN)
        async with finality.open_async(
            f"sqlite:///{folder}/hotel.db", participants=[seats], reservations=[RoomHold]
        ) as node:
            for statement in (
                "CREATE TABLE IF NOT EXISTS rooms (id INTEGER PRIMARY KEY, free INTEGER, held INTEGER)",
                "CREATE TABLE IF NOT EXISTS booking (guest TEXT)",
                "INSERT OR IGNORE INTO rooms VALUES (1, 2, 0)",
            ):
                await node.run(lambda tx, statement=statement: tx.execute(statement))  # type: ignore[misc]  # mypy infers no default
            await book(node, seats, "ada", ["1A"])
            await book(node, seats, "bob", ["1A", "1B"])
            await book(node, seats, "eve", ["1C"])
            print(
                "guests:",
                [guest for (guest,) in await node.query("SELECT guest FROM booking ORDER BY guest")],
            )


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".")))
