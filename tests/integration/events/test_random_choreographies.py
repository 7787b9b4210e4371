"""Random choreographies, their events delivered twice and in any order: each run is done, or undone.

Each service has a home of its own, and each home watches. The test plays relay and broker: what
services have published is delivered in an order of the seed's, some of it twice, some of it only after
the deadline.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, make_dataclass
from datetime import timedelta
from typing import Any

import pytest

import finality
from finality.core.choreography import Seen
from finality.core.envelope import Envelope
from finality.core.ids import START, Cursor
from finality.node.kits import kit_of
from finality.patterns.outbox import Origin, published
from finality.ports.events import SHARES, Published
from finality.ports.store import LocalTransaction
from finality.runtime.asked import Asked
from finality.runtime.choreography import DEADLINE, KeepShapeTurn, Watcher
from finality.runtime.envelopes import envelope_of_row
from finality.runtime.inbox import Arrived
from finality.runtime.reacting import Reacting
from finality.runtime.reaction import ReactionCode
from tests.integration.kit import MovedClock

HOMES = itertools.count()
SEEDS = 40
TWICE = 0.3  # So much of what is delivered comes again.
HANGS = 0.15  # So many services hear of nothing until the deadline has passed.
Work = Callable[[finality.SyncTx, Any], Any]


def event(name: str) -> type[Any]:
    """Return a class of events; in no module, so annotations are given as classes."""
    made: type[Any] = make_dataclass(name, [("run", str)], frozen=True)
    return made


def reaction(name: str, by: str, work: Callable[..., Any], takes: Any, answers: Any, **options: Any) -> Any:
    work.__name__ = name
    work.__annotations__ = {"tx": finality.SyncTx, "event": takes, "return": answers}
    return finality.react("steps", by=by, **options)(work)


class Plan:
    """A random choreography: a tree of steps, each of which may refuse, and one that confirms."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self.begins, expired, failed, done = (event(name) for name in ("Begun", "Expired", "Failed", "Done"))
        count = chance.randint(2, 5)
        yes = [event(f"Yes{n}") for n in range(count)]
        no = [event(f"No{n}") for n in range(count)]
        undone = [event(f"Undone{n}") for n in range(count)]
        refusing = {n for n in range(count) if chance.random() < 0.15}
        fails: Any = failed
        for each in no:
            fails = fails | each
        self.reactions: list[Any] = []
        for n in range(count):
            parent = self.begins if n == 0 or chance.random() < 0.4 else yes[chance.randrange(n)]
            step = reaction(
                f"step{n}",
                f"s{n}",
                _step(f"{n}", yes[n], no[n] if n in refusing else None),
                parent,
                yes[n] | no[n],
            )
            undo = reaction(f"undo{n}", f"s{n}", _undo(f"{n}", undone[n]), fails, undone[n], undoes=step)
            self.reactions += [step, undo]
        everything: Any = yes[0]
        for each in yes[1:]:
            everything = everything | each
        confirm = reaction("confirm", "main", _confirm(count, done), everything, done | None)
        give_up = reaction("give_up", "main", _say(failed), expired, failed, unless=confirm)
        self.reactions += [confirm, give_up]

        def expires(begun: Any) -> Any:
            return expired(begun.run)

        expires.__annotations__ = {"begun": self.begins, "return": expired}
        self.choreography = finality.Choreography(
            f"plan{seed}",
            reactions=self.reactions,
            begins=self.begins,
            completes=done,
            fails=[failed, *no],
            deadline=timedelta(seconds=60),
            expires=expires,
        )
        self.count = count


def _step(name: str, yes: type[Any], no: type[Any] | None) -> Work:
    def work(tx: finality.SyncTx, event: Any) -> Any:
        if no is not None:
            return no(event.run)
        tx.execute("INSERT INTO effect VALUES (?, ?)", event.run, name)
        return yes(event.run)

    return work


def _undo(name: str, undone: type[Any]) -> Work:
    def work(tx: finality.SyncTx, event: Any) -> Any:
        tx.execute("DELETE FROM effect WHERE run = ? AND what = ?", event.run, name)
        return undone(event.run)

    return work


def _confirm(count: int, done: type[Any]) -> Work:
    def work(tx: finality.SyncTx, event: Any) -> Any:
        tx.execute("INSERT INTO part VALUES (?, ?)", event.run, type(event).__name__)
        parts = tx.execute("SELECT count(DISTINCT what) FROM part WHERE run = ?", event.run).scalar()
        return done(event.run) if parts == count else None

    return work


def _say(what: type[Any]) -> Work:
    def work(tx: finality.SyncTx, event: Any) -> Any:
        return what(event.run)

    return work


@dataclass
class Home:
    """One home: its node, the reactions of its services and its watcher."""

    node: finality.AsyncNode
    codes: list[ReactionCode]
    cursors: dict[int, Cursor]

    async def outbox(self) -> list[Envelope]:
        """Return what was published since the last call."""
        store, found = self.node._insides.context.home, []
        for share in range(SHARES):
            page = await store.outbox(share, after=self.cursors.get(share, START))
            self.cursors[share] = page.cursor
            found += [envelope_of_row(row, store.name) for row in page.events]
        return found

    async def hear(self, code: ReactionCode, envelope: Envelope) -> None:
        """Deliver an event to a reaction of this home."""
        value = None
        context = self.node._insides.context
        if not code.is_raw:
            value = context.codec.unpack(envelope.data, envelope.content_type, code.takes[envelope.type])
        await Reacting(kit_of(context)).react(code, [Arrived(code.reader, envelope, value)])


async def home(plan: Plan, number: int, clock: MovedClock) -> Home:
    # A database lives until the last that knew it is collected, so each has a name that none had before.
    name = f"random-{plan.choreography.name}-{number}-{next(HOMES)}"
    node = finality.open_async(f"memory://{name}", environment=clock)
    await node.run(lambda tx: tx.execute("CREATE TABLE effect (run TEXT, what TEXT)"))
    await node.run(lambda tx: tx.execute("CREATE TABLE part (run TEXT, what TEXT)"))
    codec = node._insides.context.codec

    def say(topic: str, value: Any, begun: Seen) -> Published:
        return published(codec, topic, value, key=begun.key, origin=Origin(begun.run, begun.id))

    kept = KeepShapeTurn(plan.choreography.code, codec)
    node._insides.context.home.submit(kept)
    await kept.done
    watcher = Watcher(plan.choreography.code, codec, clock, say)
    own = [each.code for n, each in enumerate(plan.reactions) if n // 2 % 2 == number]
    return Home(node, [*own, *watcher.reactions(str(number))], {})


async def play(seed: int) -> tuple[set[str], list[str], int]:
    """Play one run; return how it ended in each home, and which effects stand."""
    plan, chance, clock = Plan(seed), random.Random(seed), MovedClock()
    homes = [await home(plan, number, clock) for number in (0, 1)]
    hung = {
        code.consumer for each in homes for code in each.codes if chance.random() < HANGS and not code.is_raw
    }
    async with homes[0].node.transaction() as tx:
        await tx.publish("steps", plan.begins("run"), key="run")
    bag: list[tuple[Home, ReactionCode, Envelope]] = []
    held: list[tuple[Home, ReactionCode, Envelope]] = []

    async def deliver() -> None:
        while True:
            for event in [event for each in homes for event in await each.outbox()]:
                for each in homes:
                    for code in each.codes:
                        if event.type in code.takes and event.type != DEADLINE:
                            (held if code.consumer in hung else bag).append((each, code, event))
            if not bag:
                return
            where, code, event = bag.pop(chance.randrange(len(bag)))
            await where.hear(code, event)
            if chance.random() < TWICE:
                bag.append((where, code, event))

    await deliver()
    heads = [head for each in homes for head in await each.node.transactions()]
    clock.move(seconds=61)
    late = Envelope(
        "late", "test", DEADLINE, plan.choreography.code.deadlines, b"{}", correlation_id=heads[0].id
    )
    for each in homes:
        [watch] = [code for code in each.codes if DEADLINE in code.takes]
        await each.hear(watch, late._replace(id=f"late-{id(each)}"))
    await deliver()
    hung.clear()
    bag += held
    await deliver()
    ends = {head.status for each in homes for head in await each.node.transactions()}
    effects = [row[1] for each in homes for row in await each.node.query("SELECT run, what FROM effect")]
    for each in homes:
        await each.node.close()
    return ends, effects, plan.count


@pytest.mark.slow
def test_every_run_is_done_or_undone_whatever_is_delivered_when() -> None:
    seen = set()
    for seed in range(SEEDS):
        ends, effects, count = asyncio.run(play(seed))

        assert ends in ({"completed"}, {"compensated"}), f"seed {seed}: {ends}"
        assert len(effects) == (count if ends == {"completed"} else 0), f"seed {seed}: {ends} with {effects}"
        seen |= ends
    assert seen == {"completed", "compensated"}


class Release(Asked[int]):
    """Releases what is due, as a relay does; answers how much."""

    def run(self, tx: LocalTransaction) -> None:
        self.answer = tx.release_due(10)


def test_a_run_whose_beginning_comes_after_its_reminders_is_reminded_again() -> None:
    async def scenario() -> None:
        clock, plan = MovedClock(), Plan(0)
        where = await home(plan, 0, clock)
        [watch] = [code for code in where.codes if code.is_raw and DEADLINE not in code.takes]

        async def released_after(*types: str) -> int:
            for type_ in types:
                event = Envelope(type_, "test", type_, "steps", b'{"run":"r"}', "r", correlation_id="r")
                await where.hear(watch, event)
            clock.move(seconds=200)
            turn = Release("release", 0)
            where.node._insides.context.home.submit(turn)
            return await turn.done

        assert await released_after("Yes0") == 2
        assert await released_after("Begun") == 2
        assert await released_after("Begun", "No0") == 0
        await where.node.close()

    asyncio.run(scenario())
