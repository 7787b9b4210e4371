"""One simulation of reactions: nodes, a broker and faults from a seed, then heal, drain and compare.

```
    PYTHONPATH=. python -m tests.sim.reactions 42      runs seed 42 and prints what happened
```

Three consumers hear what is published: a plain function in the home store, an ``async`` one in another
store, which moves what fails to a retry topic, and one that hears the answers of the first. Each leaves
a row for every event that took effect.
Nodes are killed, also at the crash points before and after an effect, closed in good order, cut off
from their stores and paused beyond their leases, so that two consumers have an event in hand at once;
functions stumble and refuse. Where nodes and broker are files of one disk, its power fails, too, and
all of them are gone at once.

At the end the rows are compared with what was published: one for each event and consumer, in the order
of its key where there is no retry topic; and one dead letter for each event that a person had to help.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import apsw

import finality
from finality.adapters.memory.broker import MemoryBroker
from finality.adapters.memory.topics import MemoryTopics
from finality.adapters.sqlite.broker import SqliteBroker
from finality.adapters.sqlite.watch import Watch
from finality.core.backoff import Retry
from finality.core.errors import FinalityError
from finality.core.ids import START
from finality.node.async_node import AsyncNode
from finality.ports.events import SHARES, OutboxEvent
from finality.testing import Chaos, Died, Rates, World
from finality.testing.disk import SimulatedDisk
from finality.testing.world import at_once
from tests.sim.relay import Result
from tests.sim.relay import main as run_seeds
from tests.sim.simulation import Broken

FAULT_SECONDS = 2.0
DRAIN_SECONDS_MAX = 10.0
BEAT_SECONDS = 0.2
POWER_FAILURES = 1.0  # A second, where there is a disk: nodes and broker fail together.
LANES = 3
KEYS = 4
PARTITIONS = 2  # Of a topic in a file.
IN_LINE = Retry(attempts=2, first_seconds=0.05)
LATER = Retry(attempts=2, first_seconds=0.2, cap_seconds=0.5)
HOME, BANK = "effect", "bank"
CREATE = "CREATE TABLE effect (number INTEGER PRIMARY KEY, consumer TEXT, key TEXT, event TEXT)"
INSERT = "INSERT INTO effect (consumer, key, event) VALUES (?, ?, ?)"


@dataclass(frozen=True)
class Sent:
    """An event, which nobody else publishes."""

    key: str
    name: str


@dataclass(frozen=True)
class Heard:
    """The answer to one."""

    key: str
    name: str


class MortalBroker(SqliteBroker):
    """A node's way to a broker in a file, which a node that is killed drops as a crash drops it."""

    async def open(self, environment: Any) -> None:
        """Open the file."""
        await super().open(environment)
        environment.process.last_will.append(partial(_drop, self._watch, self._connection, self._reader))

    async def declare(self, topic: str, *, partitions: int = PARTITIONS) -> int:
        """Make sure that the topic is there, with few partitions: each has a lease and a subscription."""
        return await super().declare(topic, partitions=PARTITIONS)


class Story:
    """The run of one seed."""

    def __init__(self, seed: int, directory: Path | None = None, disk: SimulatedDisk | None = None) -> None:
        topics = MemoryTopics(f"sim-reactions-{seed}")
        self.rates = Rates.drawn(seed)
        if disk is not None:
            self.rates = replace(self.rates, power=POWER_FAILURES)
        self.problems: list[str] = []
        self.helped: set[str] = set()
        self.world = World(
            seed=seed,
            stores=[BANK],
            directory=directory,
            hesitation=self.rates.hesitation,
            broker=lambda: MortalBroker(directory / "events.db") if directory else MemoryBroker(topics),
            reactions=self._reactions(),
        )
        self.chaos = Chaos(self.world, self.rates, disk)

    def _reactions(self) -> list[finality.Reaction[..., Any]]:
        @finality.react("orders", by="stock", publish="answers", retry=IN_LINE, later=LATER)
        def hear(tx: finality.SyncTx, sent: Sent) -> Heard:
            tx.execute(INSERT, "stock", sent.key, sent.name)
            self.chaos.stumble()
            return Heard(sent.key, sent.name)

        @finality.react(
            "orders", by="mail", at=BANK, later=LATER, retry_topic="orders.retry", dead_letters="orders.dead"
        )
        async def write(tx: finality.Tx, sent: Sent) -> None:
            await tx.execute(INSERT, "mail", sent.key, sent.name)
            await self.chaos.dawdle(0.3)
            self.chaos.stumble()

        @finality.react("answers", by="shop", retry=IN_LINE, later=LATER)
        async def told(tx: finality.Tx, heard: Heard) -> None:
            await self.chaos.dawdle(0.3)
            await tx.execute(INSERT, "shop", heard.key, heard.name)

        return [hear, write, told]

    async def live(self) -> None:
        """The fault phase, then heal and drain."""
        await self.world.executed(CREATE)
        await self.world.executed(CREATE, at=BANK)
        await self.chaos.open()
        spawn = self.world.loop.world.spawn
        troubles = spawn(self.chaos.run())
        lanes = [spawn(self._lane(lane)) for lane in range(LANES)]
        await asyncio.sleep(FAULT_SECONDS)
        self.chaos.heal()
        await troubles
        for lane in lanes:
            await lane
        await self.chaos.open()
        await self._drain()
        for node in self.chaos.alive:
            await node.close()

    async def _lane(self, lane: int) -> None:
        """Publish one transaction after the other, at any node; nobody knows what became of some."""
        dice = random.Random(f"{self.world.seed} lane {lane}")
        number = 0
        while not self.chaos.is_healed:
            await asyncio.sleep(dice.random() * 0.4)
            events = []
            for _ in range(dice.randint(1, 3)):
                number += 1
                events.append(Sent(f"k{dice.randrange(KEYS)}", f"{lane}.{number}"))
            node = self.chaos.any_node()
            if node is not None:
                with contextlib.suppress(Died, FinalityError):
                    await node.ask(partial(_publish, events=events))

    async def _drain(self) -> None:
        """Wait until every event has taken effect; a person has refused ones tried again."""
        give_up = self.world.loop.time() + DRAIN_SECONDS_MAX
        while self.world.loop.time() < give_up:
            node = self.chaos.any_node()
            if node is not None:
                with contextlib.suppress(Died, FinalityError):
                    if not await node.ask(self._helped) and self._is_done():
                        return
            await asyncio.sleep(BEAT_SECONDS)

    def _is_done(self) -> bool:
        published = len(self._published("Sent"))
        return all(len(self._effects(*each)) >= published for each in CONSUMERS)

    def check(self) -> int:
        """Compare what was published with what took effect; return how much that is."""
        wanted = self._published("Sent")
        answered = Counter(self._published("Heard"))
        self._compare("the answers", Counter(wanted), answered)
        for consumer, store in CONSUMERS:
            effects = self._effects(consumer, store)
            self._compare(consumer, Counter(wanted), Counter(effects))
            for key in range(KEYS if consumer != "mail" else 0):
                order = [each for each in wanted if each[0] == f"k{key}"]
                if order != [each for each in effects if each[0] == f"k{key}"]:
                    self.problems.append(f"the order of k{key} has turned for {consumer}")
        letters = Counter(
            json.loads(row.headers)["causationid"] for row in self._outbox() if row.topic == "orders.dead"
        )
        if (missing := self.helped - letters.keys()) or letters.total() > len(letters):
            doubled = letters.total() - len(letters)
            self.problems.append(f"{len(missing)} dead letters are missing, and {doubled} doubled")
        return len(wanted)

    def _compare(self, who: str, wanted: Counter[tuple[str, str]], found: Counter[tuple[str, str]]) -> None:
        if wanted != found:
            lost, more = (wanted - found).total(), (found - wanted).total()
            self.problems.append(f"{who}: {lost} events without effect, and {more} effects too many")

    def _published(self, type_: str) -> list[tuple[str, str]]:
        """Return (key, name) of what was published, in the order of each key."""
        rows = [row for row in self._outbox() if row.type == type_ and row.topic in ("orders", "answers")]
        values = [self.world.codec.decode(row.data, Sent) for row in rows]
        return [(value.key, value.name) for value in values]

    def _outbox(self) -> list[OutboxEvent]:
        pages = [at_once(self.world.home.outbox(n, after=START, limit=10**6)) for n in range(SHARES)]
        return [row for page in pages for row in page.events]

    async def _helped(self, node: AsyncNode) -> bool:
        """Have tried again what waits for a person; say whether anything is parked."""
        parked = await node.inbox.parked()
        for event in parked:
            if event.status == "person":
                self.helped |= {event.envelope.id} if event.consumer == "mail" else set()
                await node.inbox.retry(str(event.number), because="the simulation is over")
        return bool(parked)

    def _effects(self, consumer: str, store: str | None) -> list[tuple[str, str]]:
        query = "SELECT key, event FROM effect WHERE consumer = ? ORDER BY number"
        return [(row[0], row[1]) for row in self.world.query(query, consumer, at=store)]


CONSUMERS: tuple[tuple[str, str | None], ...] = (("stock", None), ("mail", BANK), ("shop", None))


def _drop(watch: Watch, *connections: apsw.Connection) -> None:
    watch.close()
    for connection in connections:
        with contextlib.suppress(apsw.Error):  # A disk that has failed takes nothing any more.
            connection.close()


async def _publish(node: AsyncNode, events: list[Sent]) -> None:
    def publish(tx: finality.SyncTx) -> None:
        for event in events:
            tx.publish("orders", event, key=event.key)

    await node.run(publish)


def simulate(seed: int, directory: Path | None = None) -> Result:
    """Run one simulation: in memory, or on SQLite files in a directory, with nodes and broker on one disk.

    Raises:
        Broken: A promise was broken.
    """
    with contextlib.ExitStack() as stack:
        disk = None if directory is None else stack.enter_context(SimulatedDisk(seed))
        story = Story(seed, directory, disk)
        world = stack.enter_context(story.world)
        try:
            world.loop.run_until_complete(story.live())
            count = story.check()
        except Exception as error:
            raise Broken(f"seed {seed} ({story.rates}) failed: {error!r}") from error
        story.problems += [f"something failed unheard: {error}" for error in world.loop.errors]
        if story.problems:
            told = "; ".join(story.problems[:3])
            raise Broken(f"seed {seed} broke {len(story.problems)} promises: {told} ({story.rates})")
        return Result(count, story.chaos.counts)


def simulate_on_disk(seed: int) -> Result:
    """Run one simulation on SQLite files: nodes and broker are on one disk, whose power fails.

    Raises:
        Broken: A promise was broken.
    """
    with TemporaryDirectory() as directory:
        return simulate(seed, Path(directory))


def main(arguments: list[str], run: Callable[[int], Result] = simulate) -> None:
    """Run the seeds of the command line, such as 7 or 0-99."""
    run_seeds(arguments, run)


if __name__ == "__main__":
    main(sys.argv[1:])
