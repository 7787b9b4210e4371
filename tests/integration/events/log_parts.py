"""What runs in the processes of the *log* workload, each of which may be killed at any time.

A *lane* runs one transaction after the other; its numbers grow, so within a key of a lane the order is
known. Lanes run side by side: on PostgreSQL a transaction commits late, or is prepared and decided later,
while others with higher sequence numbers commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psycopg

import finality
from finality.adapters.system.environment import SystemEnvironment
from finality.core.errors import FinalityError, TransactionAborted
from finality.node.brokers import broker_at
from finality.ports.broker import Delivery

T = TypeVar("T")

KEYS = 5
LANES = 4
TRANSACTIONS_MAX = 100  # Of a lane: a broker that takes long to come back is not to drown in them.
PACE_SECONDS = 0.02
ABORTED_SHARE = 0.15
PREPARED_SHARE = 0.15
LATE_SECONDS_MAX = 0.02
LEASE = timedelta(seconds=1)


@dataclass(frozen=True)
class Told:
    """What each process of a run is told.

    Attributes:
        folder: Where consumers write what came, and a file tells producers that it is enough.
    """

    store: str
    broker: str
    topic: str
    folder: Path
    seed: int

    @property
    def enough(self) -> Path:
        """Return the file that tells producers to end."""
        return self.folder / "enough"


@dataclass(frozen=True)
class Sent:
    """An event of a lane; *number* grows."""

    lane: str
    number: int


class Taken(NamedTuple):
    """An event that came: by what an inbox knows it, its key, its lane and its number."""

    event: str
    key: str
    lane: str
    number: int


def live(told: Told, part: str, name: str) -> None:
    """Play a part until it is played, or killed."""
    parts = {"producer": produce, "relay": relay, "consumer": consume}
    asyncio.run(parts[part](told, name))


# ── Consumers and relays ────────────────────────────────────────────────────────────────────


async def consume(told: Told, name: str) -> None:
    """Take, write down what came, and acknowledge it, whatever happens to the broker."""
    broker = broker_at(told.broker)
    await patiently(lambda: broker.open(SystemEnvironment()))
    partitions = await patiently(lambda: broker.declare(told.topic))
    subscription = await patiently(lambda: broker.subscribe(told.topic, "poll", range(partitions)))
    with (told.folder / name).open("ab", buffering=0) as tape:
        while True:
            deliveries = await patiently(subscription.take)
            os.write(
                tape.fileno(), b"".join(json.dumps(taken_of(each)).encode() + b"\n" for each in deliveries)
            )
            with contextlib.suppress(FinalityError):  # What the broker has not heard comes again.
                await subscription.ack(deliveries)


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until there is an answer."""
    while True:
        try:
            return await ask()
        except FinalityError:
            await asyncio.sleep(0.02)


def taken_of(delivery: Delivery) -> Taken:
    """Return what an event is known by."""
    envelope = delivery.envelope
    data = json.loads(envelope.data)
    return Taken(f"{envelope.source}#{envelope.id}", envelope.key, data["lane"], data["number"])


async def relay(told: Told, name: str) -> None:
    """Relay until killed; leases are short, so that the other relay takes over soon."""
    async with finality.open_async(told.store, broker=told.broker, lease=LEASE):
        await asyncio.Event().wait()


# ── Producers ───────────────────────────────────────────────────────────────────────────────


async def produce(told: Told, name: str) -> None:
    """Send on each lane until it is enough."""
    lanes = [f"{name}.{number}" for number in range(LANES)]
    if told.store.startswith("postgres"):
        await asyncio.gather(*(postgres_lane(told, lane) for lane in lanes))
        return
    async with finality.open_async(told.store) as node:
        await asyncio.gather(*(node_lane(node, told, lane) for lane in lanes))


async def node_lane(node: finality.AsyncNode, told: Told, lane: str) -> None:
    """Send by transactions of the node; some of them abort."""
    dice = random.Random(f"{told.seed} {lane}")
    number = count = 0
    while count < TRANSACTIONS_MAX and not told.enough.exists():
        count += 1
        keys = [f"k{dice.randrange(KEYS)}" for _ in range(dice.randint(1, 3))]
        with contextlib.suppress(TransactionAborted):
            async with node.transaction() as tx:
                for key in keys:
                    await tx.execute("INSERT INTO sent VALUES (?, ?, ?)", lane, number, key)
                    await tx.publish(told.topic, Sent(lane, number), key=key)
                    number += 1
                if dice.random() < ABORTED_SHARE:
                    raise TransactionAborted("the dice say so")
        await asyncio.sleep(PACE_SECONDS)


async def postgres_lane(told: Told, lane: str) -> None:
    """Send by sessions of another library; some commit late, some are prepared first, some abort."""
    dice = random.Random(f"{told.seed} {lane}")
    number = count = 0
    connection = await psycopg.AsyncConnection.connect(told.store, autocommit=True)
    async with connection:
        while count < TRANSACTIONS_MAX and not told.enough.exists():
            count += 1
            await connection.execute("BEGIN")
            joined = finality.join_async(connection)
            for _ in range(dice.randint(1, 3)):
                key = f"k{dice.randrange(KEYS)}"
                await connection.execute("INSERT INTO sent VALUES (%s, %s, %s)", (lane, number, key))
                await joined.publish(told.topic, Sent(lane, number), key=key)
                number += 1
            await asyncio.sleep(dice.random() * LATE_SECONDS_MAX)
            await connection.execute(await ended(connection, dice, f"{lane}.{count}"))


async def ended(connection: Any, dice: random.Random, gid: str) -> str:
    """Return the statement that ends the transaction; prepare it first, perhaps."""
    chance = dice.random()
    if chance < ABORTED_SHARE:
        return "ROLLBACK"
    if chance > ABORTED_SHARE + PREPARED_SHARE:
        return "COMMIT"
    await connection.execute(f"PREPARE TRANSACTION '{gid}'")
    await asyncio.sleep(dice.random() * LATE_SECONDS_MAX * 3)
    return f"COMMIT PREPARED '{gid}'"
