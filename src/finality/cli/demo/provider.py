"""The payment provider: another company, with a process and a database of its own.

It refuses some payments, is down for others, answers late, and sometimes pays and then hangs up
before it has answered. What it promises is what real providers promise: a request that is repeated
with the same key is the same request.

```
    pay      unknown key ──▶ paid        cancel   paid ─────────▶ refunded
             known key ────▶ as before            unknown key ──▶ void: a late pay is refused
```
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from pathlib import Path
from typing import Any

import apsw

import finality

FILE = "payments.db"
LINE_BYTES_MAX = 1 << 16

SCHEMA = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "CREATE TABLE payment (key TEXT PRIMARY KEY, saga TEXT NOT NULL, cents INTEGER NOT NULL,"
    " state TEXT NOT NULL) WITHOUT ROWID",
    # The money that has really moved. Nothing here forbids to pay twice: that is for the checker to see.
    "CREATE TABLE movement (saga TEXT NOT NULL, kind TEXT NOT NULL, cents INTEGER NOT NULL)",
    "CREATE INDEX movement_saga ON movement (saga, kind, cents)",
)


class ProviderDown(Exception):
    """The provider gave no usable answer: it may have paid or not."""


@dataclass(frozen=True, slots=True)
class PaymentProvider:
    """The bank's side of the wire."""

    socket: Path

    async def pay(self, key: str, *, reference: str, card: str, cents: int) -> str:
        """Have *card* paid, once a *key*, and return the receipt's number.

        Raises:
            Refused: The provider said no.
            ProviderDown: Nobody knows; ask again with the same key.
        """
        answer = await self._ask(ask="pay", key=key, reference=reference, card=card, cents=cents)
        if "refused" in answer:
            raise finality.Refused(answer["refused"])
        return str(answer["receipt"])

    async def cancel(self, key: str, *, reference: str) -> None:
        """Have the payment with *key* taken back; if there was none, see that there will be none.

        Raises:
            ProviderDown: Nobody knows; ask again.
        """
        await self._ask(ask="cancel", key=key, reference=reference)

    async def _ask(self, **request: Any) -> dict[str, Any]:
        try:
            reader, writer = await asyncio.open_unix_connection(str(self.socket), limit=LINE_BYTES_MAX)
        except OSError as error:
            raise ProviderDown(f"the provider cannot be reached: {error}") from error
        try:
            writer.write(json.dumps(request).encode() + b"\n")
            line = await reader.readline()
        except OSError as error:
            raise ProviderDown(f"the provider hung up: {error}") from error
        finally:
            writer.close()
        if not line.endswith(b"\n"):
            raise ProviderDown("the provider hung up without an answer")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ProviderDown(answer["error"])
        return answer


class Fate(Enum):
    """How the provider treats one payment."""

    REFUSED = "no, for good"
    BUSY = "an error before anything is done, once or twice"
    HANGS_UP = "it pays, and its first answer is lost"
    SLOW = "a third of a second"
    TOO_SLOW = "longer than the bank waits, the first time"
    MUTE = "it pays, and no answer ever arrives"
    DOWN = "an error before anything is done, each time"
    WELL = "paid"


IN_A_THOUSAND = {
    Fate.REFUSED: 50,
    Fate.BUSY: 60,
    Fate.HANGS_UP: 40,
    Fate.SLOW: 40,
    Fate.TOO_SLOW: 5,
    Fate.MUTE: 5,
    Fate.DOWN: 5,
    Fate.WELL: 795,
}

REFUSALS = ("card expired", "card reported stolen", "daily limit reached")


def chance(seed: int, what: str) -> float:
    """Return a number from 0 up to 1 that depends on nothing but *seed* and *what*."""
    digest = blake2b(f"{seed}/{what}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / (1 << 64)


def fate_of(seed: int, key: str) -> Fate:
    """Return how the payment with *key* fares."""
    point = chance(seed, key) * 1_000
    for fate, share in IN_A_THOUSAND.items():
        point -= share
        if point < 0:
            return fate
    return Fate.WELL


class ProviderServer:
    """The provider's side of the wire: decides each payment's fate, and keeps its books."""

    def __init__(self, directory: Path, seed: int) -> None:
        self._connection = apsw.Connection(str(directory / FILE))
        self._seed = seed
        self._asked: Counter[str] = Counter()
        for statement in SCHEMA:
            self._connection.execute(statement)

    def close(self) -> None:
        """Close the books."""
        self._connection.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, or hang up."""
        try:
            line = await reader.readline()
            if not line.endswith(b"\n"):
                return
            answer = await self.answer(json.loads(line))
            if answer is not None:
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except OSError:
            pass  # The bank's node was killed; its successor will ask again.
        finally:
            writer.close()

    async def answer(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """Do what *request* asks; None hangs up."""
        key, saga = request["key"], request["reference"]
        if request["ask"] == "cancel":
            return self._cancel(key, saga)
        self._asked[key] += 1
        fate, tries = fate_of(self._seed, key), self._asked[key]
        if fate is Fate.DOWN or (fate is Fate.BUSY and tries <= 1 + len(key) % 2):
            return {"error": "503: try again later"}
        if fate is Fate.REFUSED:
            return {"refused": REFUSALS[int(chance(self._seed, f"why {key}") * len(REFUSALS))]}
        if fate is Fate.SLOW:
            await asyncio.sleep(0.33)
        answer = self._pay(key, saga, request["cents"])
        if fate is Fate.MUTE or (fate is Fate.HANGS_UP and tries == 1):
            return None
        if fate is Fate.TOO_SLOW and tries == 1:
            await asyncio.sleep(2)
        return answer

    def _pay(self, key: str, saga: str, cents: int) -> dict[str, Any]:
        with self._connection:
            state = self._state(key)
            if state is None:
                self._connection.execute("INSERT INTO payment VALUES (?, ?, ?, 'paid')", (key, saga, cents))
                self._connection.execute("INSERT INTO movement VALUES (?, 'payment', ?)", (saga, cents))
            elif state != "paid":
                return {"refused": "it was cancelled"}
        return {"receipt": f"R{blake2b(key.encode(), digest_size=4).hexdigest()}"}

    def _cancel(self, key: str, saga: str) -> dict[str, Any]:
        with self._connection:
            state = self._state(key)
            if state is None:
                self._connection.execute("INSERT INTO payment VALUES (?, ?, 0, 'void')", (key, saga))
            elif state == "paid":
                self._connection.execute("UPDATE payment SET state = 'refunded' WHERE key = ?", (key,))
                self._connection.execute(
                    "INSERT INTO movement SELECT saga, 'refund', -cents FROM payment WHERE key = ?", (key,)
                )
        return {"cancelled": True}

    def _state(self, key: str) -> str | None:
        row = self._connection.execute("SELECT state FROM payment WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])


async def serve(directory: Path, socket: Path, seed: int) -> None:
    """Answer requests until standard input ends."""
    provider = ProviderServer(directory, seed)
    server = await asyncio.start_unix_server(provider.serve, str(socket), limit=LINE_BYTES_MAX, backlog=1_000)
    print("ready", flush=True)
    async with server:
        await asyncio.to_thread(sys.stdin.read)
    provider.close()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
