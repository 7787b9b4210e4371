"""The *log* workload: send and poll while everything is killed, then count what went wrong.

```
   producers ──transactions──▶ store ──relays──▶ broker ──consumer──▶ tape ──▶ Report
       ✗ kill -9                          ✗ kill -9  ✗ kill -9    ✗ kill -9
```

Each transaction writes what it publishes into a table of its own as well, so what was committed is known.
A consumer writes down what it takes before it acknowledges: that is all that an inbox would see.

Any broker joins: ``await log(store_url, broker_url, folder, seed=1, server=server)``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

import psycopg

import finality
from tests.integration.events.log_parts import LEASE, Taken, Told, live
from tests.integration.forks import PROCESSES

PATIENCE_SECONDS = 60.0
QUIET_SECONDS = 0.3  # After everything has come: what would come too much comes by then.
TABLE = "CREATE TABLE sent (lane TEXT, number INTEGER, key TEXT)"


class Server(Protocol):
    """A broker's server, which is killed as with -9 and started again with its data."""

    @property
    def url(self) -> str:
        """Return where it is."""

    def kill(self) -> None:
        """Kill it."""

    def start(self) -> None:
        """Start it again."""


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


def judged(committed: dict[tuple[str, int], str], taken: Sequence[Taken]) -> Report:
    """Compare what was committed, (lane, number) → key, with what came."""
    effects: dict[str, Taken] = {}
    for each in taken:
        effects.setdefault(each.event, each)
    came = Counter((each.lane, each.number) for each in effects.values())
    last: dict[tuple[str, str], int] = {}
    reordered = 0
    for _, key, lane, number in effects.values():
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


async def log(store: str, broker: str, folder: Path, *, seed: int, server: Server | None = None) -> Report:
    """Send and poll while one of each part is killed; print the report and return it.

    Args:
        server: The broker's, which is killed, too; without one a relay is paused beyond its lease.
    """
    dice = random.Random(seed)
    told = Told(store, broker, f"log-{uuid.uuid4().hex[:8]}", folder, seed)
    async with finality.open_async(store) as node:
        await node.run(lambda tx: tx.execute(TABLE))
    deaths = ["producer", "relay", "consumer"]
    dice.shuffle(deaths)
    deaths.append("pause" if server is None else "broker")
    with cast_of(told) as cast:
        for death in deaths:
            await cast.more_came(dice.randrange(20, 60))
            await kill_somebody(death, cast, dice, server)
        await cast.more_came(20)
        await cast.producers_end()
        decide_what_is_prepared(store)
        committed = await truth(store)
        await cast.all_came(committed)
        report = judged(committed, cast.taken())
    print(f"log seed {seed}, killed {', '.join(deaths)}: {json.dumps(asdict(report))}")
    return report


async def kill_somebody(death: str, cast: Cast, dice: random.Random, server: Server | None) -> None:
    """Kill a process, or the broker, and let another one take its part; or pause a relay."""
    if death == "broker":
        assert server is not None, "only a server can be killed"
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(dice.random() * 0.2)
        await asyncio.to_thread(server.start)
    elif death == "pause":
        await cast.pause_one(dice)
    else:
        await asyncio.to_thread(cast.kill_one, death, dice)


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


class Cast:
    """The processes that send, relay and consume; one that is killed is replaced."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._born = 0
        self._running: dict[str, list[BaseProcess]] = {"producer": [], "relay": [], "consumer": []}
        for part in ("producer", "relay", "relay", "consumer"):
            self._start(part)

    def _start(self, part: str) -> None:
        self._born += 1
        one = PROCESSES.Process(target=live, args=(self._told, part, f"{part}-{self._born:03}"))
        one.start()
        self._running[part].append(one)

    def kill_one(self, part: str, dice: random.Random) -> None:
        """Kill a process with -9, and start another one."""
        victim = self._running[part].pop(dice.randrange(len(self._running[part])))
        victim.kill()
        victim.join()
        self._start(part)

    async def pause_one(self, dice: random.Random) -> None:
        """Pause a relay beyond its lease; it wakes up believing in itself."""
        pid = dice.choice(self._running["relay"]).pid
        assert pid is not None, "it was started"
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(LEASE.total_seconds() * 1.5)
        os.kill(pid, signal.SIGCONT)

    def taken(self) -> list[Taken]:
        """Return what has come; a line that its consumer was killed at was not acknowledged."""
        lines: list[bytes] = []
        for tape in sorted(self._told.folder.glob("consumer-*")):
            lines += [line for line in tape.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        return [Taken(*json.loads(line)) for line in lines]

    async def more_came(self, count: int) -> None:
        """Wait until so many more have come, or everything has been sent."""
        goal, give_up = len(self.taken()) + count, time.monotonic() + PATIENCE_SECONDS
        while (came := len(self.taken())) < goal and any(
            each.is_alive() for each in self._running["producer"]
        ):
            assert time.monotonic() < give_up, f"nothing comes any more, after {came}"
            await asyncio.sleep(0.02)

    async def all_came(self, committed: dict[tuple[str, int], str]) -> None:
        """Wait until everything has come, for so long; and a moment more."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while {(each.lane, each.number) for each in self.taken()} < committed.keys():
            if time.monotonic() > give_up:
                return  # The report says what is missing.
            await asyncio.sleep(0.05)
        await asyncio.sleep(QUIET_SECONDS)

    async def producers_end(self) -> None:
        """Tell the producers that it is enough, and see that none has failed."""
        self._told.enough.touch()
        for each in self._running["producer"]:
            await asyncio.to_thread(each.join, PATIENCE_SECONDS)
            assert each.exitcode == 0, "a producer has failed; what it said stands above"

    def end(self) -> None:
        """Leave none of them behind."""
        for each in (one for part in self._running.values() for one in part):
            each.kill()
            each.join()


@contextlib.contextmanager
def cast_of(told: Told) -> Iterator[Cast]:
    """Give a producer, two relays and a consumer, which are gone when the block ends."""
    cast = Cast(told)
    try:
        yield cast
    finally:
        cast.end()
