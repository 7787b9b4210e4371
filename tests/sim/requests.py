"""One simulation of requests: nodes, a bad network and faults from a seed, then heal, drain and compare.

```
    PYTHONPATH=. python -m tests.sim.requests 42      runs seed 42 and prints what happened
```

Every node asks, and every node answers: a plain function in the home store, an ``async`` one in another
store. Questions and answers are lost for good, come twice and come late; nodes are killed, also at crash
points, closed, paused beyond their leases and cut off from their stores; functions stumble, refuse and
take too long. At the end each request has ended once, as everybody was told who asked for it, in time by
the clock of whoever recorded it; each effect has its one answer, and no refusal has an effect.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any

import finality
from finality.adapters.memory.broker import MemoryBroker
from finality.adapters.memory.topics import MemoryTopics
from finality.core.backoff import Retry
from finality.core.envelope import Envelope
from finality.core.errors import FinalityError
from finality.core.placement import partition_of
from finality.core.request import ANSWERED, EXPIRED, KIND, REFUSED, Answered, Refused
from finality.node.async_node import AsyncNode
from finality.ports.home import Head
from finality.testing import Chaos, Died, Rates, World
from finality.testing.world import SimulatedNode, at_once
from tests.sim.reactions import main
from tests.sim.relay import Far, Result
from tests.sim.simulation import Broken

FAULT_SECONDS = 0.7
DRAIN_SECONDS_MAX = 8.0  # More than a pause, a lease and a deadline.
BEAT_SECONDS = 0.2
DENSITY = 4.0  # How much more goes wrong than in simulations that last longer.
LATE_SECONDS_MAX = 0.8  # As long as what is asked is awaited at most.
LANES = 3
KEYS = ("", "a", "b")
PARTITIONS = 2  # Few, so that little is spent on leases.
IN_LINE = Retry(attempts=2, first_seconds=0.05)
LATER = Retry(attempts=2, first_seconds=0.2, cap_seconds=0.5)
HOME, BANK = None, "bank"
CREATE = "CREATE TABLE effect (number INTEGER PRIMARY KEY, request TEXT, token INTEGER)"
INSERT = "INSERT INTO effect (request, token) VALUES (?, ?)"
CREATE_WISH = "CREATE TABLE wish (request TEXT PRIMARY KEY)"

End = tuple[str, int]
"""How a request ended, and the token of its answer."""


@dataclass(frozen=True)
class Ask:
    """A question."""

    id: str


@dataclass(frozen=True)
class Told:
    """Its answer; the token says which call of the function has made it."""

    id: str
    token: int


class Post:
    """What brokers of all nodes share: a network that loses events, doubles them, and brings them late."""

    def __init__(self, world: World, far: Far) -> None:
        self.topics = MemoryTopics(f"sim-requests-{world.seed}")
        self.sent: dict[str, Envelope] = {}  # Whatever became of it, by id.
        self.far = far
        self._dice = random.Random(f"{world.seed} post")
        self._spawn = world.loop.world.spawn

    def send(self, event: Envelope) -> None:
        """Take an event, and bring it: once, twice or never, now or late."""
        self.sent[event.id] = event
        far, chance = self.far, self._dice.random
        if far.happens("event lost", chance()):
            return
        for times in range(1 + far.happens("event doubled", chance())):
            is_late = far.happens("event late", chance())
            if times or is_late:
                self._spawn(self._bring_late(event, chance() * LATE_SECONDS_MAX))
            else:
                self._bring(event)

    async def _bring_late(self, event: Envelope, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._bring(event)

    def _bring(self, event: Envelope) -> None:
        partitions = self.topics.declare(event.topic, PARTITIONS).partitions
        partitions[partition_of(event.key or event.id, PARTITIONS)].append(event)


class FarBroker(MemoryBroker):
    """A node's way to the post."""

    def __init__(self, post: Post) -> None:
        super().__init__(post.topics)
        self._post = post

    async def declare(self, topic: str, *, partitions: int = PARTITIONS) -> int:
        """Make sure that the topic is there, with few partitions."""
        return await super().declare(topic, partitions=PARTITIONS)

    async def publish(self, events: Sequence[Envelope]) -> list[FinalityError | None]:
        """Send them all."""
        for event in events:
            self._post.send(event)
        return [None] * len(events)


class Story:
    """The run of one seed."""

    def __init__(self, seed: int) -> None:
        dice = random.Random(f"{seed} far")
        self.rates = _dense(Rates.drawn(seed))
        self.problems: list[str] = []
        self.told: defaultdict[str, set[End]] = defaultdict(set)
        self.tokens = count(1)
        self.ends: Counter[str] = Counter()
        self.world = World(
            seed=seed,
            stores=[BANK],
            hesitation=self.rates.hesitation,
            broker=lambda: FarBroker(self.post),
            reactions=self._reactions(),
        )
        self.post = Post(self.world, Far(0.0 if seed % 10 == 0 else dice.random() ** 2 * 0.4, 0.0))
        self.chaos = Chaos(self.world, self.rates)

    def _reactions(self) -> list[finality.Reaction[..., Any]]:
        @finality.react("quotes", by="pricing", retry=IN_LINE, later=LATER)
        def price(tx: finality.SyncTx, asked: Ask) -> Told:
            token = next(self.tokens)
            tx.execute(INSERT, asked.id, token)
            self.chaos.stumble()
            return Told(asked.id, token)

        @finality.react("seats", by="airline", at=BANK, retry=IN_LINE, later=LATER)
        async def seat(tx: finality.Tx, asked: Ask) -> Told:
            token = next(self.tokens)
            await tx.execute(INSERT, asked.id, token)
            await self.chaos.dawdle(LATE_SECONDS_MAX)
            self.chaos.stumble()
            return Told(asked.id, token)

        return [price, seat]

    # ── What happens ────────────────────────────────────────────────────────────────────────

    async def live(self) -> None:
        """The fault phase, then heal and drain."""
        await self.world.executed(CREATE)
        await self.world.executed(CREATE, at=BANK)
        await self.world.executed(CREATE_WISH)
        await self.chaos.open()
        spawn = self.world.loop.world.spawn
        troubles = spawn(self.chaos.run())
        lanes = [spawn(self._lane(lane)) for lane in range(LANES)]
        await asyncio.sleep(FAULT_SECONDS)
        self.chaos.heal()
        self.post.far.is_healed = True
        await troubles
        await self.chaos.open()
        await asyncio.wait(lanes, timeout=DRAIN_SECONDS_MAX)
        await self._drain()
        for node in self.chaos.alive:
            await node.close()

    async def _lane(self, lane: int) -> None:
        """Ask one thing after the other, at any node, some of it twice."""
        dice = random.Random(f"{self.world.seed} lane {lane}")
        number = 0
        while not self.chaos.is_healed:
            await asyncio.sleep(dice.random() * 0.15)
            number += 1
            ask = partial(
                _ask,
                topic=dice.choice(("quotes", "seats")),
                id=f"{lane}.{number}",
                key=dice.choice(KEYS),
                within=timedelta(seconds=0.02 + dice.random() ** 2 * LATE_SECONDS_MAX),
                in_tx=dice.random() < 0.3,
            )
            first = self.chaos.any_node()
            again = self.chaos.any_node() if dice.random() < 0.2 else None
            nodes = [node for node in (first, again) if node is not None]
            await asyncio.gather(*(self._hear(node, f"{lane}.{number}", ask) for node in nodes))

    async def _hear(self, node: SimulatedNode, id: str, work: Any) -> None:
        """Note how a request ended, as a node tells it; some nodes never do."""
        try:
            end = ANSWERED, (await node.ask(work)).token
        except finality.Refused:
            end = REFUSED, 0
        except finality.DeadlinePassed:
            end = EXPIRED, 0
        except (Died, FinalityError):
            return
        self.told[id].add(end)

    async def _drain(self) -> None:
        """Wait until all requests have ended and all answers are sent, and came; have them told once more."""
        give_up = self.world.loop.time() + DRAIN_SECONDS_MAX
        while self.world.loop.time() < give_up:
            if all(head.has_ended for head in self._heads()) and self._effects() == self._answers():
                break
            await asyncio.sleep(BEAT_SECONDS)
        await asyncio.sleep(LATE_SECONDS_MAX)
        node = self.chaos.any_node()
        assert node is not None, "one was opened after the faults"
        for head in self._heads():
            if head.has_ended:
                await self._hear(node, head.id, partial(AsyncNode.answer, id=head.id, answer=Told))

    # ── What came of it ─────────────────────────────────────────────────────────────────────

    def _heads(self) -> list[Head]:
        heads = at_once(self.world.home.heads(limit=10**6))
        return [head for head in heads if head.kind == KIND]

    def _effects(self) -> dict[str, list[int]]:
        """Return the tokens of the effects that requests had."""
        rows = [row for at in (HOME, BANK) for row in self.world.query("SELECT * FROM effect", at=at)]
        return _by_request((id, token) for _, id, token in rows)

    def _answers(self) -> dict[str, list[int]]:
        """Return the tokens of the answers that were sent to them, whatever became of those."""
        events = [event for event in self.post.sent.values() if event.type == Told.__name__]
        return _by_request((event.correlation_id or "", json.loads(event.data)["token"]) for event in events)

    def check(self) -> int:
        """Compare how requests ended with what was told, with the effects and with the answers sent."""
        effects, answers = self._effects(), self._answers()
        heads = self._heads()
        for head in heads:
            self._check(head, effects.get(head.id, []), answers.get(head.id, []))
        wished = {id for (id,) in self.world.query("SELECT request FROM wish")}
        if lost := wished - {head.id for head in heads}:
            self.problems.append(f"{lost} were asked in a commit, and are not there")
        return len(heads)

    def _check(self, head: Head, effects: list[int], answers: list[int]) -> None:
        recorded = at_once(self.world.home.load(head.key))
        asked, ends = recorded[0].event, []
        for each in recorded:
            match each.event:
                case Answered(_, value, _):
                    ends.append((ANSWERED, json.loads(value)["token"]))
                case Refused():
                    ends.append((REFUSED, 0))
                case _:
                    continue
            if each.at >= asked.deadline:
                self.problems.append(f"{head.id} was {head.status} after its deadline")
        ends = ends or [(EXPIRED, 0)]
        self.ends[head.status] += 1
        self.ends["answered late"] += type(recorded[-1].event).__name__ == "AnsweredLate"
        if not head.has_ended or head.status != ends[0][0]:
            self.problems.append(f"{head.id} is {head.status}, and that is no end")
        elif self.told[head.id] != {*ends}:
            self.problems.append(f"{head.id} ended {ends}, and who asked was told {self.told[head.id]}")
        if len(effects) > 1 or effects != answers:
            self.problems.append(f"{head.id} has effects {effects} and answers {answers}")
        if (head.status == ANSWERED and [ends[0][1]] != effects) or (head.status == REFUSED and effects):
            self.problems.append(f"{head.id} ended {ends}, and has effects {effects}")


def _by_request(tokens: Iterable[tuple[str, int]]) -> dict[str, list[int]]:
    found: defaultdict[str, list[int]] = defaultdict(list)
    for id, token in sorted(tokens):
        found[id].append(token)
    return found


def _dense(rates: Rates) -> Rates:
    """Return rates by which a short life sees as much as a longer one."""
    names = ("crash", "kill", "stop", "pause", "outage")
    return replace(rates, **{name: getattr(rates, name) * DENSITY for name in names})


async def _ask(node: AsyncNode, topic: str, id: str, key: str, within: timedelta, *, in_tx: bool) -> Told:
    if not in_tx:
        return await node.request(topic, Ask(id), answer=Told, within=within, id=id, key=key)

    def ask(tx: finality.SyncTx) -> None:
        tx.request(topic, Ask(id), id=id, within=within, key=key)
        tx.execute("INSERT INTO wish VALUES (?) ON CONFLICT DO NOTHING", id)

    await node.run(ask)
    return await node.answer(id, Told)


def simulate(seed: int) -> Result:
    """Run one simulation.

    Raises:
        Broken: A promise was broken.
    """
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
        return Result(count, story.chaos.counts + story.post.far.counts + story.ends)


if __name__ == "__main__":
    main(sys.argv[1:], simulate)
