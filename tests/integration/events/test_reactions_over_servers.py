"""Reactions over brokers that are servers: one effect an event, whatever is delivered twice."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import finality
from finality.adapters.system.environment import SystemEnvironment
from finality.ports.environment import COMMIT_AFTER
from tests.integration.events.kit import Placed
from tests.integration.events.log import Server
from tests.integration.forks import PROCESSES
from tests.integration.kit import effects, eventually, table, url_of

pytestmark = pytest.mark.slow

KEYS, EVENTS = "abc", 12
START_SECONDS_MAX = 60.0  # The first child waits for its parent to import everything.
LEASE = timedelta(seconds=1)


@dataclass(frozen=True)
class Noted:
    order: str


class Dying(SystemEnvironment):
    """Dies as kill -9 does behind the commit of some effects, before anybody can acknowledge the last."""

    left = 5

    def reach(self, point: str) -> None:
        if point == COMMIT_AFTER and self.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


def note_of(topic: str, dying: Dying | None = None) -> finality.Reaction[..., Noted]:
    """Return a reaction that leaves an effect and answers; whoever dies of it does so afterwards."""

    @finality.react(topic, by="stock", publish=f"{topic}.noted")
    def note(tx: finality.SyncTx, placed: Placed) -> Noted:
        if dying is not None:
            dying.left -= 1
        tx.execute("INSERT INTO effect VALUES (?)", placed.order)
        return Noted(placed.order)

    return note


def live_and_die(store: str, broker: str, topic: str) -> None:
    """React until the environment kills this process."""
    dying = Dying()
    asyncio.run(
        finality.open_async(
            store, broker=broker, reactions=[note_of(topic, dying)], environment=dying, lease=LEASE
        ).serve()
    )


def test_each_event_takes_effect_once_and_in_order(server: Server, tmp_path: Path) -> None:
    """All are sent twice, and a consumer is killed between an effect and its acknowledgement."""
    store, topic = url_of(tmp_path), f"orders-{uuid.uuid4().hex[:8]}"
    orders = [f"{KEYS[number % len(KEYS)]}-{number:02}" for number in range(EVENTS)]

    async def story() -> tuple[list[str], list[str]]:
        async with finality.open_async(store, broker=server.url) as node:
            await table(node)
            async with node.transaction() as tx:
                for order in orders:
                    await tx.publish(topic, Placed(order), key=order[0])
            relay = node._insides.relays[0]
            await eventually(lambda: relay.published >= EVENTS)
            outbox = await node.outbox()
            assert await outbox.resend(datetime(2020, 1, 1, tzinfo=UTC), because="to see it twice") == EVENTS
            await eventually(lambda: relay.published >= 2 * EVENTS)
        victim = PROCESSES.Process(target=live_and_die, args=(store, server.url, topic))
        victim.start()
        try:
            await asyncio.to_thread(victim.join, START_SECONDS_MAX)
            assert victim.exitcode == -signal.SIGKILL
        finally:
            victim.kill()
        async with finality.open_async(store, is_observer=True) as node:
            assert 5 <= len(await effects(node)) < EVENTS
        async with finality.open_async(
            store, broker=server.url, reactions=[note_of(topic)], lease=LEASE
        ) as node:

            async def is_done() -> bool:
                return len(await effects(node)) >= EVENTS and not any((await node.health()).lags.values())

            await eventually(is_done)
            answers = await node.query("SELECT payload FROM finality_outbox WHERE type = 'Noted'")
            return await effects(node), [str(row[0]) for row in answers]

    noted, answers = asyncio.run(story())

    assert sorted(noted) == sorted(orders)
    assert {key: [each for each in noted if each[0] == key] for key in KEYS} == {
        key: [each for each in orders if each[0] == key] for key in KEYS
    }
    assert len(answers) == EVENTS
