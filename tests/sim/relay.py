"""One simulation of the relay: nodes, a broker and faults from a seed, then heal, drain and compare.

```
    PYTHONPATH=. python -m tests.sim.relay 42      runs seed 42 and prints what happened
```

What is in the outbox at the end was committed; what the broker has stored was relayed. Both are
compared whole: nothing lost, nothing that was never committed, each key in its order. Beside that the
cursors are watched, which may never go back, and what is published twice has to be in somebody's hand
both times: a relay that was overtaken may repeat what it had, and no more.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from unittest import mock

import finality
from finality.adapters.memory.broker import MemoryBroker
from finality.adapters.memory.topics import MemoryTopics, Partition
from finality.core.envelope import Envelope
from finality.core.errors import FinalityError, Unavailable
from finality.core.ids import START
from finality.node.async_node import AsyncNode
from finality.ports.broker import Rejected
from finality.ports.events import SHARES
from finality.runtime import relay
from finality.testing import Chaos, Died, Rates, World
from finality.testing.world import at_once
from tests.sim.simulation import Broken

FAULT_SECONDS = 4.0
DRAIN_SECONDS_MAX = 120.0
BEAT_SECONDS = 0.05
LANES = 4
KEYS = 6
TOPIC = "orders"
PAGE_EVENTS = 4  # Small pages, so that much of what happens is between them.


@dataclass(frozen=True)
class Sent:
    """An event; the broker may refuse what is *foul* for a while."""

    lane: int
    number: int
    foul: bool


class FarBroker(MemoryBroker):
    """A broker over a bad network: calls and answers take a while, and are lost."""

    def __init__(self, topics: MemoryTopics, seed: str, far: Far) -> None:
        super().__init__(topics)
        self._dice = random.Random(seed)
        self._far = far

    async def publish(self, events: Sequence[Envelope]) -> list[FinalityError | None]:
        """Store events, unless the call is lost; say so, unless the answer is."""
        far, chance = self._far, self._dice.random
        await asyncio.sleep(chance() * far.seconds_max)
        lost: list[FinalityError | None] = [Unavailable("the network is down")] * len(events)
        if far.happens("call lost", chance()):
            return lost
        if far.happens("half of a batch", chance()):
            half = len(events) // 2
            return [*await self._some(events[:half]), *lost[half:]]
        answers = await self._some(events)
        await asyncio.sleep(chance() * far.seconds_max)
        return lost if far.happens("answer lost", chance()) else answers

    async def _some(self, events: Sequence[Envelope]) -> list[FinalityError | None]:
        """Store what is not foul, and nothing of a key behind what is."""
        held: set[str] = set()
        answers: list[FinalityError | None] = []
        for event in events:
            if event.key in held:
                answers.append(Unavailable("behind one that was not stored"))
            elif b'"foul":true' in event.data and not self._far.is_healed:
                held.add(event.key)
                answers.append(Rejected("it is foul"))
            else:
                answers += await super().publish([event])
        return answers


@dataclass
class Far:
    """How bad the network is."""

    rate: float
    seconds_max: float
    counts: Counter[str] = field(default_factory=Counter)
    is_healed: bool = False

    def happens(self, fault: str, chance: float) -> bool:
        """Say whether it goes wrong now."""
        if self.is_healed or chance >= self.rate:
            return False
        self.counts[fault] += 1
        return True


@dataclass
class Result:
    """What a simulation saw."""

    events: int = 0
    faults: Counter[str] = field(default_factory=Counter)


class Story:
    """The run of one seed."""

    def __init__(self, seed: int) -> None:
        dice = random.Random(f"{seed} far")
        self.rates = Rates.drawn(seed)
        quiet = seed % 10 == 0
        self.far = Far(0.0 if quiet else dice.random() ** 2 * 0.5, dice.random() * 0.2)
        self.foul_rate = 0.0 if quiet else dice.random() * 0.05
        self.topics = MemoryTopics(f"sim-{seed}")
        self.problems: list[str] = []
        brokers = iter(range(1_000_000))
        self.world = World(
            seed=seed,
            hesitation=self.rates.hesitation,
            broker=lambda: FarBroker(self.topics, f"{seed} broker {next(brokers)}", self.far),
        )
        self.chaos = Chaos(self.world, self.rates)

    async def live(self) -> None:
        """The fault phase, then heal and drain."""
        await self.chaos.open()
        spawn = self.world.loop.world.spawn
        watch = spawn(self._watch())
        troubles = spawn(self.chaos.run())
        lanes = [spawn(self._lane(lane)) for lane in range(LANES)]
        await asyncio.sleep(FAULT_SECONDS)
        self.chaos.heal()
        self.far.is_healed = True
        await troubles
        for lane in lanes:
            await lane
        await self.chaos.open()
        await self._drain()
        watch.cancel()
        for node in self.chaos.alive:
            await node.close()

    async def _lane(self, lane: int) -> None:
        """Publish one transaction after the other, at any node; nobody knows what became of some."""
        dice = random.Random(f"{self.world.seed} lane {lane}")
        number = 0
        while not self.chaos.is_healed:
            await asyncio.sleep(dice.random() * 0.4)
            node = self.chaos.any_node()
            events = []
            for _ in range(dice.randint(1, 6)):
                number += 1
                event = Sent(lane, number, dice.random() < self.foul_rate)
                events.append((f"k{dice.randrange(KEYS)}", event))
            if node is None:
                continue
            with contextlib.suppress(Died, FinalityError):
                await node.ask(partial(_publish, events=events))

    async def _watch(self) -> None:
        """See that no cursor goes back."""
        far: dict[int, int] = {}
        while True:
            for row in at_once(self.world.home.progress(relay.RELAY)):
                cursor = int(row.cursor or 0)
                if cursor < far.get(row.share, 0):
                    self.problems.append(f"the cursor of share {row.share} went back to {cursor}")
                far[row.share] = cursor
            await asyncio.sleep(BEAT_SECONDS / 10)

    async def _drain(self) -> None:
        """Wait until everything is relayed; a person lets what was foul go on."""
        give_up = self.world.loop.time() + DRAIN_SECONDS_MAX
        while self.world.loop.time() < give_up:
            node = self.chaos.any_node()
            if node is not None:
                with contextlib.suppress(Died, FinalityError):
                    if await node.ask(_helped):
                        return
            await asyncio.sleep(BEAT_SECONDS * 4)

    def check(self) -> int:
        """Compare what was committed with what was stored; return how much that is."""
        shares = [self.world.home.outbox(share, after=START, limit=10**6) for share in range(SHARES)]
        committed = [event for share in shares for event in at_once(share).events]
        wanted: dict[str, list[str]] = {}
        for row in committed:
            wanted.setdefault(row.key, []).append(row.id)
        stored: dict[str, list[str]] = {}
        for partition in self._partitions():
            for _, event in partition.after(0):
                stored.setdefault(event.key, []).append(event.id)
        for key in sorted(wanted.keys() | stored.keys()):
            self._compare(key, wanted.get(key, []), stored.get(key, []))
        return len(committed)

    def _partitions(self) -> Sequence[Partition]:
        with contextlib.suppress(finality.NotFound):
            return self.topics.topic(TOPIC).partitions
        return ()

    def _compare(self, key: str, wanted: list[str], stored: list[str]) -> None:
        if wanted == stored:
            return
        lost, alien = set(wanted) - set(stored), set(stored) - set(wanted)
        doubled = len(stored) - len(set(stored))
        what = f"{len(lost)} lost, {len(alien)} never committed, {doubled} doubled"
        self.problems.append(f"key {key}: {what if lost or alien or doubled else 'its order has turned'}")


async def _publish(node: AsyncNode, events: list[tuple[str, Sent]]) -> None:
    def publish(tx: finality.SyncTx) -> None:
        for key, event in events:
            tx.publish(TOPIC, event, key=key)

    await node.run(publish)


async def _helped(node: AsyncNode) -> bool:
    """Let go on what the broker had rejected; say whether everything is relayed."""
    outbox = await node.outbox()
    # In this order: what waits is parked in the commit that takes it from what waits.
    waiting = sum(share.waiting for share in await outbox.shares())
    parked = await outbox.parked()
    for each in parked:
        if each.because:
            await outbox.retry(each.place, because="it may go now")
    return not waiting and not parked


def simulate(seed: int) -> Result:
    """Run one simulation.

    Raises:
        Broken: A promise was broken.
    """
    with mock.patch.object(relay, "OUTBOX_EVENTS_MAX", PAGE_EVENTS):
        story = Story(seed)
        with story.world as world:
            try:
                world.loop.run_until_complete(story.live())
                count = story.check()
            except Exception as error:
                raise Broken(f"seed {seed} ({story.rates}) failed: {error!r}") from error
            story.problems += [f"something failed unheard: {error}" for error in world.loop.errors]
            if story.problems:
                told = "; ".join(story.problems[:3])
                raise Broken(f"seed {seed} broke {len(story.problems)} promises: {told} ({story.rates})")
            return Result(count, story.chaos.counts + story.far.counts)


def main(arguments: list[str], run: Callable[[int], Result] = simulate) -> None:
    """Run the seeds of the command line, such as 7 or 0-99."""
    totals: Counter[str] = Counter()
    for argument in arguments:
        first, _, last = argument.partition("-")
        for seed in range(int(first), int(last or first) + 1):
            result = run(seed)
            totals.update(result.faults, events=result.events, seeds=1)
    print(dict(totals))


if __name__ == "__main__":
    main(sys.argv[1:])
