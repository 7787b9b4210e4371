"""The *log* workload: send and poll while everything is killed, then count what went wrong.

```
   producers ──transactions──▶ store ──relays──▶ broker ──▶ poll ──▶ inbox ──▶ Report
       ✗ kill -9                          ✗ kill -9      ✗ kill -9
```

Each transaction writes what it publishes into a table of its own as well, so what was committed is
known. A *lane* runs one transaction after the other; its numbers grow, so within a key of a lane the
order is known, too. Lanes run side by side: on PostgreSQL a transaction commits late, or is prepared
and decided later, while others with higher sequence numbers commit.

Any broker joins: ``await log(store_url, broker_url, seed=1, broker=Deaths(server.kill, server.start))``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import psycopg

import finality
from finality.adapters.system.environment import SystemEnvironment
from finality.core.errors import FinalityError, TransactionAborted
from finality.node.brokers import broker_at
from finality.ports.broker import Broker, Delivery
from tests.tidy.rules import ROOT

TOPIC = "log"
KEYS = 5
LANES = 6
ABORTED_SHARE = 0.15
PREPARED_SHARE = 0.15
LATE_SECONDS_MAX = 0.02
PATIENCE_SECONDS = 60.0
LEASE = timedelta(seconds=1)
QUIET_SECONDS = 0.3  # After everything has come: what would come too much comes by then.


@dataclass(frozen=True)
class Sent:
    """An event of a lane; *number* grows."""

    lane: str
    number: int


@dataclass(frozen=True)
class Deaths:
    """How a broker is killed, as with -9, and started again with its data."""

    kill: Callable[[], None]
    start: Callable[[], None]


@dataclass(frozen=True)
class Report:
    """What went wrong, and how much there was of everything.

    Attributes:
        lost: Committed, and never delivered.
        skipped: Those of the lost whose key went on behind them.
        aborted: Delivered, and never committed.
        doubled: Taken for another event by the inbox than the first time: it came under two ids.
        reordered: Delivered for the first time behind a later one of its key.
        repeats: Deliveries that the inbox knew again; no fault.
    """

    committed: int
    deliveries: int
    repeats: int
    lost: int
    skipped: int
    aborted: int
    doubled: int
    reordered: int

    @property
    def is_clean(self) -> bool:
        """Say whether every event took effect once, in the order of its key."""
        return not (self.lost or self.skipped or self.aborted or self.doubled or self.reordered)


Taken = tuple[str, str, str, int]  # By what an inbox knows the event, its key, its lane, its number.


def judged(committed: dict[tuple[str, int], str], taken: list[Taken]) -> Report:
    """Compare what was committed, (lane, number) → key, with what came."""
    effects: dict[str, tuple[str, str, int]] = {}
    for event, key, lane, number in taken:
        effects.setdefault(event, (key, lane, number))
    came = Counter((lane, number) for _, lane, number in effects.values())
    last: dict[tuple[str, str], int] = {}
    reordered = 0
    for key, lane, number in effects.values():
        reordered += number < last.get((lane, key), -1)
        last[lane, key] = max(number, last.get((lane, key), -1))
    lost = [what for what in committed if what not in came]
    return Report(
        committed=len(committed),
        deliveries=len(taken),
        repeats=len(taken) - len(effects),
        lost=len(lost),
        skipped=sum(number < last.get((lane, committed[lane, number]), -1) for lane, number in lost),
        aborted=sum(what not in committed for what in came),
        doubled=sum(count - 1 for count in came.values()),
        reordered=reordered,
    )


# ── The orchestra ───────────────────────────────────────────────────────────────────────────


async def log(
    store: str,
    broker: str,
    *,
    seed: int,
    transactions: int = 30,
    kills: int = 4,
    deaths: Deaths | None = None,
) -> Report:
    """Send and poll under kills; print the report and return it.

    Args:
        transactions: Of each lane of each producer.
        kills: How often somebody is killed: a producer, a relay, or the broker if its *deaths* are given.
    """
    dice = random.Random(seed)
    async with finality.open_async(store) as node:
        await node.run(lambda tx: tx.execute(TABLE))
    poll = Poll(broker_at(broker))
    polling = asyncio.ensure_future(poll.run())
    try:
        with cast_of(store, broker, seed, transactions) as cast:
            for number in range(kills):
                await poll.grown(dice.randrange(10, 50), cast)
                await kill_somebody(cast, dice, deaths, number)
            await cast.producers_end()
            decide_what_is_prepared(store)
            committed = await truth(store)
            await poll.until_all(committed)
    finally:
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
    report = judged(committed, poll.taken)
    print(f"log seed {seed}: {json.dumps(asdict(report))}")
    return report


TABLE = "CREATE TABLE sent (lane TEXT, number INTEGER, key TEXT)"


async def kill_somebody(cast: Cast, dice: random.Random, deaths: Deaths | None, number: int) -> None:
    """Kill a process, or the broker, and let another one take its part; or pause a relay."""
    parts = ["producer", "relay", "pause"] + ["broker"] * (deaths is not None)
    part = parts[number % len(parts)]
    if part == "broker" and deaths is not None:
        await asyncio.to_thread(deaths.kill)
        await asyncio.sleep(dice.random() * 0.2)
        await asyncio.to_thread(deaths.start)
    elif part == "pause":
        await cast.pause_one(dice)
    else:
        await asyncio.to_thread(cast.kill_one, part, dice)


async def truth(store: str) -> dict[tuple[str, int], str]:
    """Return what was committed."""
    async with finality.open_async(store, is_observer=True) as node:
        rows = await node.query("SELECT lane, number, key FROM sent")
    return {(lane, number): key for lane, number, key in rows}


def decide_what_is_prepared(store: str) -> None:
    """Commit the branches that a killed producer has left in doubt; its table tells that they did."""
    if store.startswith("sqlite"):
        return
    with psycopg.connect(store, autocommit=True) as connection:
        rows = connection.execute("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")
        for (gid,) in rows.fetchall():
            connection.execute(f"COMMIT PREPARED '{gid}'")


class Poll:
    """The consumer: takes, acknowledges, and remembers what came, in order."""

    def __init__(self, broker: Broker) -> None:
        self.taken: list[Taken] = []
        self._broker = broker

    async def run(self) -> None:
        """Take until cancelled, whatever happens to the broker."""
        await self._patiently(lambda: self._broker.open(SystemEnvironment()))
        partitions = await self._patiently(lambda: self._broker.declare(TOPIC))
        subscription = await self._patiently(lambda: self._broker.subscribe(TOPIC, "poll", range(partitions)))
        try:
            while True:
                deliveries = await self._patiently(subscription.take)
                self.taken += map(taken_of, deliveries)
                with contextlib.suppress(FinalityError):  # What it has not heard comes again.
                    await subscription.ack(deliveries)
        finally:
            await self._broker.close()

    async def _patiently(self, ask: Callable[[], Any]) -> Any:
        while True:
            try:
                return await ask()
            except FinalityError:
                await asyncio.sleep(0.02)

    async def grown(self, count: int, cast: Cast) -> None:
        """Wait until so many more have come, or nobody sends any more."""
        goal, give_up = len(self.taken) + count, time.monotonic() + PATIENCE_SECONDS
        while len(self.taken) < goal and cast.is_sending:
            assert time.monotonic() < give_up, f"nothing comes any more, after {len(self.taken)}"
            await asyncio.sleep(0.01)

    async def until_all(self, committed: dict[tuple[str, int], str]) -> None:
        """Wait until everything has come, for so long; and a moment more."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while {(lane, number) for _, _, lane, number in self.taken} < committed.keys():
            if time.monotonic() > give_up:
                return  # The report says what is missing.
            await asyncio.sleep(0.05)
        await asyncio.sleep(QUIET_SECONDS)


def taken_of(delivery: Delivery) -> Taken:
    """Return by what an inbox knows an event, its key, its lane and its number."""
    envelope = delivery.envelope
    data = json.loads(envelope.data)
    return f"{envelope.source}#{envelope.id}", envelope.key, data["lane"], data["number"]


class Cast:
    """The processes that send and relay; one that is killed is replaced."""

    def __init__(self, store: str, broker: str, seed: int, transactions: int) -> None:
        self._arguments = {"store": store, "broker": broker, "transactions": transactions}
        self._seed = seed
        self._born = 0
        self.running: dict[str, list[subprocess.Popen[bytes]]] = {"producer": [], "relay": []}
        for part in ("producer", "relay", "relay"):
            self._start(part)

    def _start(self, part: str) -> None:
        self._born += 1
        told = json.dumps(
            {**self._arguments, "part": part, "name": f"{part}-{self._born}", "seed": self._seed}
        )
        command = [sys.executable, "-m", "tests.integration.events.log", told]
        self.running[part].append(subprocess.Popen(command, cwd=ROOT))

    @property
    def is_sending(self) -> bool:
        """Say whether a producer is still at work."""
        return any(each.poll() is None for each in self.running["producer"])

    def kill_one(self, part: str, dice: random.Random) -> None:
        """Kill a process with -9, and start another one."""
        victim = self.running[part].pop(dice.randrange(len(self.running[part])))
        victim.kill()
        victim.wait()
        self._start(part)

    async def pause_one(self, dice: random.Random) -> None:
        """Pause a relay beyond its lease; it wakes up believing in itself."""
        relay = dice.choice(self.running["relay"])
        relay.send_signal(signal.SIGSTOP)
        await asyncio.sleep(LEASE.total_seconds() * 1.5)
        relay.send_signal(signal.SIGCONT)

    async def producers_end(self) -> None:
        """Wait until every producer has sent what it wanted to."""
        for each in self.running["producer"]:
            status = await asyncio.to_thread(each.wait, PATIENCE_SECONDS)
            assert status == 0, "a producer has failed; what it said stands above"

    def end(self) -> None:
        """Leave none of them behind."""
        for each in (*self.running["producer"], *self.running["relay"]):
            each.kill()
            each.wait()


@contextlib.contextmanager
def cast_of(store: str, broker: str, seed: int, transactions: int) -> Iterator[Cast]:
    """Give a producer and two relays, which are gone when the block ends."""
    cast = Cast(store, broker, seed, transactions)
    try:
        yield cast
    finally:
        cast.end()


# ── What runs in the processes ──────────────────────────────────────────────────────────────


async def relay(told: dict[str, Any]) -> None:
    """Relay until killed; leases are short, so that the other relay takes over soon."""
    async with finality.open_async(told["store"], broker=told["broker"], lease=LEASE):
        await asyncio.Event().wait()


async def produce(told: dict[str, Any]) -> None:
    """Send so many transactions on each lane."""
    lanes = [f"{told['name']}.{number}" for number in range(LANES)]
    if told["store"].startswith("postgres"):
        await asyncio.gather(*(postgres_lane(told, lane) for lane in lanes))
        return
    async with finality.open_async(told["store"]) as node:
        await asyncio.gather(*(node_lane(node, told, lane) for lane in lanes))


async def node_lane(node: finality.AsyncNode, told: dict[str, Any], lane: str) -> None:
    """Send by transactions of the node; some of them abort."""
    dice = random.Random(f"{told['seed']} {lane}")
    number = 0
    for _ in range(told["transactions"]):
        keys = [f"k{dice.randrange(KEYS)}" for _ in range(dice.randint(1, 3))]
        with contextlib.suppress(TransactionAborted):
            async with node.transaction() as tx:
                for key in keys:
                    await tx.execute("INSERT INTO sent VALUES (?, ?, ?)", lane, number, key)
                    await tx.publish(TOPIC, Sent(lane, number), key=key)
                    number += 1
                if dice.random() < ABORTED_SHARE:
                    raise TransactionAborted("the dice say so")


async def postgres_lane(told: dict[str, Any], lane: str) -> None:
    """Send by sessions of another library; some commit late, some are prepared first, some abort."""
    dice = random.Random(f"{told['seed']} {lane}")
    number = 0
    connection = await psycopg.AsyncConnection.connect(told["store"], autocommit=True)
    async with connection:
        for count in range(told["transactions"]):
            await connection.execute("BEGIN")
            joined = finality.join_async(connection)
            for _ in range(dice.randint(1, 3)):
                key = f"k{dice.randrange(KEYS)}"
                await connection.execute("INSERT INTO sent VALUES (%s, %s, %s)", (lane, number, key))
                await joined.publish(TOPIC, Sent(lane, number), key=key)
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


if __name__ == "__main__":
    mine = json.loads(sys.argv[1])
    asyncio.run(produce(mine) if mine["part"] == "producer" else relay(mine))
