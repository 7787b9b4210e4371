"""What the tests of events share: an event, a broker of their own, and what has come to it."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

import finality
from finality.adapters.memory.broker import MemoryBroker
from finality.core.envelope import Envelope
from finality.core.errors import NotFound
from finality.ports.broker import Broker
from tests.integration.kit import eventually

TOPIC = "orders"
_names = itertools.count(1)


@dataclass(frozen=True)
class Placed:
    """An order was placed."""

    order: str
    number: int = 0


def own_broker() -> MemoryBroker:
    """Return a broker that no other test knows."""
    return MemoryBroker(f"test-{next(_names)}")


@contextlib.asynccontextmanager
async def relaying(
    url: str, broker: MemoryBroker | None = None, **settings: Any
) -> AsyncIterator[tuple[finality.AsyncNode, MemoryBroker]]:
    """Give a node that relays, and its broker."""
    broker = broker or own_broker()
    async with finality.open_async(url, broker=broker, **settings) as node:
        yield node, broker


async def place(node: finality.AsyncNode, *orders: str, key: str = "", at: str | None = None) -> None:
    """Publish that orders were placed, in one transaction; each is its own key, or all have one."""

    def publish(tx: finality.SyncTx) -> None:
        for number, order in enumerate(orders):
            tx.publish(TOPIC, Placed(order, number), key=key or order)

    await node.run(publish, at=at)


async def with_one_too_large(node: finality.AsyncNode) -> None:
    """Publish five events of one key, the second of which is too large for the broker."""
    await place(node, "1", "x" * (1 << 20), "3", key="k")
    await place(node, "other")
    await place(node, "4", "5", key="k")


async def stored(broker: Broker, topic: str = TOPIC) -> list[Envelope]:
    """Return what the broker has stored, in order within each key."""
    found: list[Envelope] = []
    with contextlib.suppress(NotFound):
        for partition in range(await broker.declare(topic)):
            found += [each.envelope async for each in broker.replay(topic, partition)]
    return found


async def arrived(broker: MemoryBroker, count: int, topic: str = TOPIC) -> list[Envelope]:
    """Return what the broker has stored, once it is so much."""

    async def enough() -> list[Envelope]:
        found = await stored(broker, topic)
        return found if len(found) >= count else []

    found: list[Envelope] = await eventually(enough, f"{count} events at the broker")
    return found


def ids(events: Iterable[Envelope]) -> list[str]:
    """Return the orders that events tell of, without their data's other parts."""
    return [event.data.decode().partition('"order":"')[2].partition('"')[0] for event in events]
