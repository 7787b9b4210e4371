"""The broker in a SQLite file where it is alone: retention, several processes, and who holds a partition."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from finality.adapters.sqlite import broker as sqlite_broker
from finality.adapters.sqlite import broker_turns, subscription, watch
from finality.adapters.sqlite.broker import PRUNE_SECONDS, SqliteBroker
from finality.core.errors import Unavailable
from finality.ports.broker import Broker
from tests.conformance.brokers.worlds import (
    GROUP,
    bodies,
    event,
    events,
    publish,
    run,
    take,
    takes_nothing,
    until,
)
from tests.conformance.worlds import CountingEnvironment

TOPIC = "orders"
HOUR = 3_600.0


@contextlib.asynccontextmanager
async def opened(
    path: Path, environment: CountingEnvironment | None = None, **options: float
) -> AsyncIterator[SqliteBroker]:
    broker = SqliteBroker(path / "events.db", **options)
    await broker.open(environment or CountingEnvironment(is_threaded=True))
    await broker.declare(TOPIC, partitions=1)
    try:
        yield broker
    finally:
        await broker.close()


async def held(broker: Broker) -> list[str]:
    """Return the positions of what the broker still has."""
    return [each.position async for each in broker.replay(TOPIC, 0)]


async def has(broker: Broker, count: int) -> bool:
    """Say whether it still has so many events."""
    return len(await held(broker)) == count


# ── Retention ───────────────────────────────────────────────────────────────────────────────


def test_what_every_group_has_done_is_kept_for_a_while_and_then_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_turns, "PRUNE_PAGES_MAX", 2)  # Several batches.
    environment = CountingEnvironment(is_threaded=True)

    async def story() -> None:
        async with opened(tmp_path, environment, retention_seconds=HOUR) as broker:
            for each in events(TOPIC, 8):
                await publish(broker, each)
            fast = await broker.subscribe(TOPIC, "fast", [0])
            slow = await broker.subscribe(TOPIC, "slow", [0])
            await fast.ack(await take(fast, 8))
            taken = await take(slow, 7)
            await slow.ack([*taken[:4], *taken[5:]])

            environment.time += HOUR - 1
            await publish(broker, event(TOPIC))
            environment.time += PRUNE_SECONDS
            assert await held(broker) == [str(n) for n in range(1, 10)]
            await publish(broker, event(TOPIC))
            await until(lambda: has(broker, 6))
            assert await held(broker) == [str(n) for n in range(5, 11)]

            await slow.close()
            again = await take(await broker.subscribe(TOPIC, "slow", [0]), 4)
            assert [each.position for each in again] == ["5", "8", "9", "10"]

    run(story())


def test_a_position_is_never_given_twice(tmp_path: Path) -> None:
    """Not even when everything before it has been forgotten."""
    environment = CountingEnvironment(is_threaded=True)

    async def story() -> None:
        async with opened(tmp_path, environment, retention_seconds=0.0) as broker:
            reader = await broker.subscribe(TOPIC, GROUP, [0])
            await publish(broker, *events(TOPIC, 3))
            await reader.ack(await take(reader, 3))
            environment.time += PRUNE_SECONDS
            other = events(TOPIC, 1)[0]
            await publish(broker, other)
            await until(lambda: has(broker, 1))

            (taken,) = await take(reader, 1)
            assert (taken.position, taken.envelope.id) == ("4", other.id)

    run(story())


def test_an_old_event_among_new_ones_is_known_again(tmp_path: Path) -> None:
    """What is published together is kept in pages of one time, in which repeats are looked for."""
    sent = [event(TOPIC, "k", time=at) for at in (1_700_000_000.0, 0.0, 1_700_000_001.0, 1_700_000_500.0)]

    async def story() -> None:
        async with opened(tmp_path) as broker:
            await publish(broker, *sent)
            await publish(broker, *reversed(sent))
        async with opened(tmp_path) as broker:
            await publish(broker, *sent, sent[1])
            stored = [each.envelope.id async for each in broker.replay(TOPIC, 0)]

            assert stored == [each.id for each in sent]

    run(story())


# ── Who holds a partition ───────────────────────────────────────────────────────────────────


def test_whoever_was_taken_over_gets_nothing_more(tmp_path: Path) -> None:
    """What it acknowledges or gives back counts no more: another has it by now."""

    async def story() -> None:
        async with opened(tmp_path) as broker, opened(tmp_path) as other:
            published = events(TOPIC, 4)
            await publish(broker, *published)
            paused = await broker.subscribe(TOPIC, GROUP, [0])
            taken = await take(paused, 2)
            heir = await other.subscribe(TOPIC, GROUP, [0])
            inherited = await take(heir, 2)
            assert bodies(inherited) == bodies(taken)

            await paused.ack(taken[:1])
            await paused.retry_later(taken[1], 0.0)
            assert await takes_nothing(paused, 0.05)
            await paused.close()
            assert bodies(await take(heir, 2)) == [each.data for each in published[2:]]
            assert await takes_nothing(heir, 0.05)
            assert await broker.lag(TOPIC, GROUP) == 4

    run(story())


def test_a_group_that_acknowledges_nothing_is_given_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "UNACKNOWLEDGED_EVENTS_MAX", 3)

    async def story() -> None:
        async with opened(tmp_path) as broker:
            await publish(broker, *events(TOPIC, 5))
            reader = await broker.subscribe(TOPIC, GROUP, [0])
            taken = await take(reader, 3)
            assert await takes_nothing(reader, 0.05)
            waiting = asyncio.create_task(take(reader, 1))
            await reader.ack(taken[1:2])

            assert (await waiting)[0].position == "4"

    run(story())


# ── Several processes ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("can_listen", [True, False])
def test_what_another_process_publishes_is_heard_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_listen: bool
) -> None:
    """It rings no bell here; the operating system says so, or a poll finds out."""
    monkeypatch.setattr(sqlite_broker, "ring", lambda file: None)
    if not can_listen:
        monkeypatch.setattr(watch, "listen", lambda path: None)
    monkeypatch.setattr(watch, "POLL_SECONDS_IDLE", 60.0)

    async def story() -> None:
        async with opened(tmp_path) as broker, opened(tmp_path) as other:
            reader = await broker.subscribe(TOPIC, GROUP, [0])
            waiting = asyncio.create_task(take(reader, 1))
            assert await takes_nothing(await broker.subscribe(TOPIC, "others", [0]), 0.1)
            sent = event(TOPIC)
            began = time.monotonic()
            await publish(other, sent)

            assert bodies(await waiting) == [sent.data]
            assert time.monotonic() - began < 30  # Not by the poll of an idle minute.

    run(story())


def test_whoever_waits_is_woken_by_much_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much arrives between two looks, nobody is overlooked."""
    monkeypatch.setattr(watch, "LOOK_PAGES_MAX", 1)
    monkeypatch.setattr(sqlite_broker, "ring", lambda file: None)

    async def story() -> None:
        async with opened(tmp_path) as broker, opened(tmp_path) as other:
            await broker.declare("last", partitions=1)
            reader = await broker.subscribe("last", GROUP, [0])
            waiting = asyncio.create_task(take(reader, 1))
            assert await takes_nothing(await broker.subscribe(TOPIC, "others", [0]), 0.05)
            await other.declare("last")
            sent = event("last")
            await publish(other, *events(TOPIC, 10), sent)

            assert bodies(await waiting) == [sent.data]

    run(story())


def test_a_child_that_was_forked_is_refused(tmp_path: Path) -> None:
    async def refused(broker: SqliteBroker) -> None:
        outcomes = await broker.publish([event(TOPIC)])
        assert isinstance(outcomes[0], Unavailable)
        with pytest.raises(Unavailable, match="forked"):
            await broker.lag(TOPIC, GROUP)

    async def story() -> None:
        async with opened(tmp_path) as broker:
            child = os.fork()
            if child == 0:
                code = 1
                with contextlib.suppress(BaseException):
                    asyncio.run(refused(broker))
                    code = 0
                os._exit(code)
            _, status = await asyncio.to_thread(os.waitpid, child, 0)

            assert os.waitstatus_to_exitcode(status) == 0
            await publish(broker, event(TOPIC))

    run(story())


def test_a_broker_that_is_closed_says_so(tmp_path: Path) -> None:
    async def story() -> None:
        async with opened(tmp_path) as broker:
            pass
        (outcome,) = await broker.publish([event(TOPIC)])

        assert isinstance(outcome, Unavailable)
        assert "it is closed" in str(outcome)
        with pytest.raises(Unavailable, match="it is closed"):
            await broker.subscribe(TOPIC, GROUP, [0])

    run(story())
