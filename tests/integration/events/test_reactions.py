"""A reaction runs once for each event, in order within a key, and its answers go with its effect."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import finality
from finality.adapters.memory.broker import MemoryBroker
from finality.node.inbox import Replayed
from finality.node.kits import kit_of
from finality.runtime.inbox import Arrived
from finality.runtime.reacting import Reacting
from tests.integration.events.kit import TOPIC, Placed, arrived, own_broker, place, stored
from tests.integration.kit import PATIENCE_SECONDS, MovedClock, effects, eventually, table, url_of

AT_ONCE = finality.Retry(attempts=2, first_seconds=0.0)
NEVER = finality.Retry(attempts=1, first_seconds=3_600.0, cap_seconds=3_600.0, jitter=0.0)


@dataclass(frozen=True)
class Shipped:
    order: str


def note(tx: finality.SyncTx, placed: Placed) -> Shipped:
    tx.execute("INSERT INTO effect VALUES (?)", f"{placed.order}{placed.number}")
    return Shipped(placed.order)


async def note_async(tx: finality.Tx, placed: Placed) -> Shipped:
    await tx.execute("INSERT INTO effect VALUES (?)", f"{placed.order}{placed.number}")
    return Shipped(placed.order)


def note_all(tx: finality.SyncTx, events: list[Placed]) -> None:
    for placed in events:
        tx.execute("INSERT INTO effect VALUES (?)", f"{placed.order}{placed.number}")


@asynccontextmanager
async def reacting(
    folder: Path, *reactions: finality.Reaction[..., Any], broker: MemoryBroker | None = None, **settings: Any
) -> AsyncIterator[tuple[finality.AsyncNode, MemoryBroker]]:
    broker, stores = broker or own_broker(), {"bank": url_of(folder, "bank")}
    async with finality.open_async(
        url_of(folder), stores=stores, broker=broker, reactions=reactions, **settings
    ) as node:
        await table(node)
        await table(node, "bank")
        yield node, broker


async def has_noted(node: finality.AsyncNode, count: int, at: str | None = None) -> list[str]:
    async def enough() -> list[str]:
        noted = await effects(node, at)
        return noted if len(noted) >= count else []

    noted: list[str] = await eventually(enough, f"{count} effects")
    return noted


async def is_caught_up(node: finality.AsyncNode) -> None:
    """Wait until every consumer has dealt with everything."""

    async def no_lag() -> bool:
        health = await node.health()
        return bool(health.lags) and not any(health.lags.values())

    await eventually(no_lag, "no lag")


@pytest.mark.parametrize("at", [None, "bank"])
@pytest.mark.parametrize("function", [note, note_async, note_all])
def test_an_event_that_comes_twice_takes_effect_once(tmp_path: Path, function: Any, at: str | None) -> None:
    reaction = finality.react(TOPIC, by="stock", publish="shipped", at=at)(function)

    async def scenario() -> None:
        async with reacting(tmp_path, reaction) as (node, broker):
            await place(node, "a", "b", "a", "c")
            noted = await has_noted(node, 4, at)
            events = await stored(broker)
        other = own_broker()  # It has never seen them, as one that was restored from a backup.
        await other.declare(TOPIC)
        await other.publish(events)
        async with reacting(tmp_path, reaction, broker=other) as (node, _):
            await is_caught_up(node)
            assert await effects(node, at) == noted
            assert sorted(noted) == ["a0", "a2", "b1", "c3"]

    asyncio.run(scenario())


@pytest.mark.parametrize("function", [note, note_async])
def test_an_answer_is_published_with_its_effect_and_says_what_it_follows_from(
    tmp_path: Path, function: Any
) -> None:
    reaction = finality.react(TOPIC, by="stock", publish="shipped")(function)

    async def scenario() -> None:
        async with reacting(tmp_path, reaction) as (node, broker):
            await place(node, "a")
            [shipped] = await arrived(broker, 1, "shipped")
            [placed] = await stored(broker)
        assert (shipped.type, shipped.key, shipped.data) == ("Shipped", "a", b'{"order":"a"}')
        assert (shipped.causation_id, shipped.correlation_id) == (
            placed.id,
            placed.correlation_id or placed.id,
        )

    asyncio.run(scenario())


def test_events_of_a_key_keep_their_order_whatever_fails(tmp_path: Path) -> None:
    failures: Counter[int] = Counter()

    @finality.react(TOPIC, by="stock", retry=finality.Retry(attempts=5, first_seconds=0.001))
    async def reaction(tx: finality.Tx, placed: Placed) -> None:
        failures[placed.number] += 1
        if failures[placed.number] < placed.number % 3:
            raise ValueError("not yet")
        await tx.execute("INSERT INTO effect VALUES (?)", f"{placed.order}{placed.number}")

    async def scenario() -> None:
        async with reacting(tmp_path, reaction) as (node, _):
            await place(node, *"abcabcabcabcabcabc")
            noted = await has_noted(node, 18)
        for key in "abc":
            own = [int(each[1:]) for each in noted if each[0] == key]
            assert own == sorted(own)

    asyncio.run(scenario())


def test_a_poisoned_key_is_parked_in_order_while_others_flow(tmp_path: Path) -> None:
    """Mended, it goes on by itself, in order."""
    is_mended = False

    @finality.react(TOPIC, by="stock", retry=AT_ONCE, later=finality.Retry(attempts=50, first_seconds=0.01))
    def reaction(tx: finality.SyncTx, placed: Placed) -> None:
        if placed.number == 1 and not is_mended:
            raise ValueError("poison")
        tx.execute("INSERT INTO effect VALUES (?)", f"{placed.order}{placed.number}")

    async def scenario() -> None:
        nonlocal is_mended
        async with reacting(tmp_path, reaction) as (node, _):
            await place(node, "b", "a", "b", "a", "a", "b")
            assert await has_noted(node, 3) == ["b0", "b2", "b5"]
            await eventually(lambda: _parked(node, 3))
            first, *behind = await node.inbox.parked()
            assert first.because == "ValueError('poison')"
            assert first.attempts >= 2
            assert [event.status for event in (first, *behind)] == ["retry", "behind", "behind"]
            is_mended = True
            assert await has_noted(node, 6) == ["b0", "b2", "b5", "a1", "a3", "a4"]
            assert await node.inbox.parked() == []

    asyncio.run(scenario())


async def _parked(node: finality.AsyncNode, count: int) -> bool:
    return len(await node.inbox.parked()) == count


@pytest.mark.parametrize("at", [None, "bank"])
def test_a_person_retries_or_discards_what_is_parked(tmp_path: Path, at: str | None) -> None:
    """The discarded one never runs, also if it comes again; what waits behind goes on."""
    is_mended = False

    @finality.react(TOPIC, by="stock", at=at)
    async def reaction(tx: finality.Tx, placed: Placed) -> None:
        if placed.number < 2 and not is_mended:
            raise finality.Refused("no stock")
        await tx.execute("INSERT INTO effect VALUES (?)", f"{placed.order}{placed.number}")

    async def scenario() -> None:
        nonlocal is_mended
        async with reacting(tmp_path, reaction) as (node, _):
            await place(node, "a", "b", "a", "b")
            await eventually(lambda: _parked(node, 4))
            events = await node.inbox.parked(consumer="stock")
            [a, b] = sorted(
                (each for each in events if each.status == "person"), key=lambda each: each.envelope.key
            )
            assert (a.because, a.attempts, a.retry_at, a.status) == ("no stock", 1, None, "person")
            await node.inbox.discard(str(a.number), because="test order")
            assert await has_noted(node, 1, at) == ["a2"]
            is_mended = True
            await node.inbox.retry(b.envelope.id, because="restocked")
            assert await has_noted(node, 3, at) == ["a2", "b1", "b3"]
            with pytest.raises(finality.NotFound):
                await node.inbox.discard(str(a.number), because="again")
            again = await node.inbox.replay(TOPIC, by="stock", because="is it known?")
            if at is None:
                assert (again.again, again.too_old) == (0, 0)
            await eventually(lambda: _parked(node, 0))
            assert await effects(node, at) == ["a2", "b1", "b3"]

    asyncio.run(scenario())


def test_a_failing_batch_is_taken_apart(tmp_path: Path) -> None:
    @finality.react(TOPIC, by="stock", retry=AT_ONCE, later=NEVER)
    def reaction(tx: finality.SyncTx, events: list[Placed]) -> None:
        for placed in events:
            tx.execute("INSERT INTO effect VALUES (?)", f"{placed.order}{placed.number}")
            if placed.number == 3:
                raise ValueError("poison")

    async def scenario() -> None:
        async with reacting(tmp_path, reaction) as (node, _):
            await place(node, *"aaaaa", key="k")
            assert await has_noted(node, 3) == ["a0", "a1", "a2"]
            await eventually(lambda: _parked(node, 2))
            poison, behind = await node.inbox.parked()
            assert (poison.because, behind.status) == ("ValueError('poison')", "behind")

    asyncio.run(scenario())


def test_an_answer_that_was_not_announced_leaves_nothing(tmp_path: Path) -> None:
    @finality.react(TOPIC, by="stock")
    def reaction(tx: finality.SyncTx, placed: Placed) -> Shipped:
        tx.execute("INSERT INTO effect VALUES ('half')")
        return Placed("wrong")  # type: ignore[return-value]  # that is the mistake

    async def scenario() -> None:
        async with reacting(tmp_path, reaction) as (node, _):
            await place(node, "a")
            await eventually(lambda: _parked(node, 1))
            [event] = await node.inbox.parked()
            assert "returned a Placed, and its annotation says Shipped" in event.because
            assert await effects(node) == []

    asyncio.run(scenario())


@pytest.mark.parametrize("at", [None, "bank"])
@pytest.mark.parametrize("function", [note, note_async])
def test_two_that_run_the_same_event_at_once_leave_one_effect(
    tmp_path: Path, function: Any, at: str | None
) -> None:
    """As two nodes do, of which one was paused beyond its lease: nobody but the inbox can tell."""
    code = finality.react(TOPIC, by="stock", at=at)(function).code

    async def scenario() -> None:
        async with reacting(tmp_path) as (node, broker):
            await place(node, *(f"o{number}-" for number in range(10)))
            events = await arrived(broker, 10)
            values = [Placed(event.key, number) for number, event in enumerate(events)]
            runs = [
                Reacting(kit_of(node._insides.context)).react(code, [Arrived(code.reader, event, value)])
                for event, value in zip(events * 2, values * 2, strict=True)
            ]
            found = await asyncio.gather(*runs, return_exceptions=True)
            noted = await effects(node, at)
        assert len(noted) == len({*noted}) == 10
        assert Counter(map(str, found))["[<Verdict.DONE: 'done'>]"] == 10

    asyncio.run(scenario())


def test_an_event_that_is_older_than_the_inbox_remembers_is_parked(tmp_path: Path) -> None:
    reaction = finality.react(TOPIC, by="stock")(note)
    clock = MovedClock()

    async def scenario() -> None:
        async with reacting(tmp_path) as (node, broker):
            await place(node, "old")
            await arrived(broker, 1)
        clock.move(days=8)
        async with reacting(tmp_path, reaction, broker=broker, environment=clock) as (node, _):
            await eventually(lambda: _parked(node, 1))
            [event] = await node.inbox.parked()
            assert event.because.startswith("it is 8 days old, and the inbox knows events again for 7:")
            replayed = await node.inbox.replay(TOPIC, by="mail", because="a new consumer")
            assert replayed == Replayed(again=0, too_old=1)

    asyncio.run(scenario())


def test_a_consumer_that_learns_a_new_type_gets_it_by_replay(tmp_path: Path) -> None:
    @finality.react(TOPIC, by="stock")
    def ship(tx: finality.SyncTx, shipped: Shipped) -> None: ...

    reaction = finality.react(TOPIC, by="stock")(note)

    async def scenario() -> None:
        async with reacting(tmp_path, ship) as (node, broker):
            await place(node, "a", "b")
            await arrived(broker, 2)
            await is_caught_up(node)
            assert await effects(node) == []
        async with reacting(tmp_path, reaction, broker=broker) as (node, _):
            replayed = await node.inbox.replay(TOPIC, by="stock", because="it takes orders now")
            assert replayed.again == 2
            assert sorted(await has_noted(node, 2)) == ["a0", "b1"]
            await eventually(lambda: _parked(node, 0))

    asyncio.run(scenario())


def test_what_a_declaration_cannot_say_the_node_does(tmp_path: Path) -> None:
    reaction = finality.react(TOPIC, by="stock")(note)

    async def opened(**settings: Any) -> None:
        async with finality.open_async(url_of(tmp_path), **settings):
            raise AssertionError("it has opened")

    twin = finality.react(TOPIC, by="stock")(note_async)
    elsewhere = finality.react(TOPIC, by="stock", at="mars")(note)
    mistakes: dict[str, dict[str, Any]] = {
        "both take Placed of topic 'orders' by 'stock'": {
            "reactions": [reaction, twin],
            "broker": own_broker(),
        },
    }
    for says, settings in mistakes.items():
        with pytest.raises(finality.DefinitionError, match=says):
            asyncio.run(opened(**settings))
    with pytest.raises(finality.NotFound, match="works in store 'mars'"):
        asyncio.run(opened(reactions=[elsewhere], broker=own_broker()))
    with pytest.raises(
        finality.DefinitionError, match="they would take effect twice; give a longer inbox_kept="
    ):
        asyncio.run(opened(inbox_kept=timedelta(hours=1)))


def test_the_inbox_forgets_what_is_older_than_its_window(tmp_path: Path) -> None:
    reaction = finality.react(TOPIC, by="stock")(note)
    clock = MovedClock()

    async def witnesses(node: finality.AsyncNode) -> int:
        rows = await node.query("SELECT count(*) FROM finality_witness WHERE operation = 'reaction'")
        count: int = rows[0][0]
        return count

    async def scenario() -> None:
        async with reacting(tmp_path, reaction) as (node, broker):
            await place(node, "a", "b")
            await has_noted(node, 2)
            assert await witnesses(node) == 2
        clock.move(days=8)
        async with reacting(tmp_path, reaction, broker=broker, environment=clock) as (node, _):

            async def forgotten() -> bool:
                return await witnesses(node) == 0

            await eventually(forgotten)

    asyncio.run(scenario())


def test_a_sync_node_reacts_too(tmp_path: Path) -> None:
    with finality.open(url_of(tmp_path), broker=own_broker()) as node:
        node.run(lambda tx: tx.execute("CREATE TABLE effect (what TEXT)"))
        seen: list[str] = []

        @node.react(TOPIC, by="stock")
        def ship(tx: finality.SyncTx, placed: Placed) -> Shipped:
            seen.append(placed.order)
            return Shipped(placed.order)

        @node.react(TOPIC, by="stock")
        async def shipped(tx: finality.Tx, shipped: Shipped) -> None:
            seen.append(f"shipped {shipped.order}")

        node.run(lambda tx: tx.publish(TOPIC, Placed("a"), key="a"))

        give_up = time.monotonic() + PATIENCE_SECONDS
        while len(seen) < 2 and time.monotonic() < give_up:
            node.health()
        assert seen == ["a", "shipped a"]
        with pytest.raises(finality.DefinitionError, match="comes too late: consumer 'stock' has begun"):
            node.react(TOPIC, by="stock")(note_all)
