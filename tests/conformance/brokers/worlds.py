"""What the suite needs of each broker's surroundings, and the short words that its tests are told in.

A new adapter joins by a class that fulfils ``World`` and a line in ``kinds``.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol, Self, TypeVar

import pytest

from finality.adapters.system.environment import SystemEnvironment
from finality.core.envelope import Envelope
from finality.core.errors import FinalityError
from finality.ports.broker import Broker, Delivery, Subscription

T = TypeVar("T")

PATIENCE_SECONDS = 30.0  # The longest that a broker may be silent before that is a failure.
PARTITIONS = 4
ALL = range(PARTITIONS)
GROUP = "stock"


class World(Protocol):
    """One broker, which tests share: each takes topics of its own.

    Attributes:
        is_shared: Other processes reach it, too.
        is_durable: What is there outlives whoever put it there, and the broker's own death.
        can_die: The broker is a process, which can be killed and started again.
        has_foreigners: Others publish on it, without attributes of CloudEvents.
        unsafe: Words of which ``health`` finds one in each setting of ``misset`` in turn.
    """

    is_shared: bool
    is_durable: bool
    can_die: bool
    has_foreigners: bool
    unsafe: tuple[str, ...]

    @classmethod
    def make(cls, request: pytest.FixtureRequest) -> Self:
        """Return it; servers are fixtures, which a session starts once."""

    def broker(self) -> Broker:
        """Return one more connection, not opened, as another process would make it."""

    def code(self) -> str:
        """Return a module and an expression that makes a connection, ``module:expression``."""

    def misset(self, word: str) -> Broker:
        """Return a connection to a broker whose setting makes it unsafe as *word* of ``unsafe`` says."""

    async def publish_foreign(self, topic: str, body: bytes) -> None:
        """Publish as a client of no kin does: the body alone, on the topic's first partition or on any."""

    def kill(self) -> None:
        """Kill the broker, as with -9."""

    def start(self) -> None:
        """Start it again, with its data."""

    def close(self) -> None:
        """Leave nothing behind."""


class Embedded:
    """What a world without a server cannot do."""

    can_die = has_foreigners = False

    async def publish_foreign(self, topic: str, body: bytes) -> None:
        """Nobody can: only our own code reaches it."""
        raise NotImplementedError

    def kill(self) -> None:
        """Nobody can."""
        raise NotImplementedError

    def start(self) -> None:
        """Nobody need."""
        raise NotImplementedError


_number = itertools.count(1)


def topic_name() -> str:
    """Return the name of a topic that no test has had before."""
    return f"orders.t-{uuid.uuid4().hex[:8]}"


def event(topic: str, key: str = "", body: bytes | None = None, **attributes: Any) -> Envelope:
    """Return one more event; its body is its number, unless it is given."""
    number = next(_number)
    data = str(number).encode() if body is None else body
    given: dict[str, Any] = {
        "id": f"e-{number}-{uuid.uuid4().hex[:8]}",
        "source": "/shop",
        "type": "Placed",
        "time": 1_000.0,
    }
    return Envelope(topic=topic, key=key, data=data, **(given | attributes))


def events(topic: str, count: int, *keys: str) -> list[Envelope]:
    """Return so many events, of each key in turn."""
    return [event(topic, key) for key, _ in zip(itertools.cycle(keys or ("k",)), range(count), strict=False)]


@contextlib.asynccontextmanager
async def opened(world: World) -> AsyncIterator[Broker]:
    """Give one more connection, opened."""
    broker = world.broker()
    await broker.open(SystemEnvironment())
    try:
        yield broker
    finally:
        await broker.close()


@contextlib.asynccontextmanager
async def topic_on(world: World) -> AsyncIterator[tuple[Broker, str]]:
    """Give a connection and a topic of its own."""
    async with opened(world) as broker:
        topic = topic_name()
        assert await broker.declare(topic, partitions=PARTITIONS) == PARTITIONS
        yield broker, topic


async def publish(broker: Broker, *published: Envelope) -> None:
    """Publish, and see that all is stored."""
    assert await broker.publish(published) == [None] * len(published)


async def take(subscription: Subscription, count: int) -> list[Delivery]:
    """Return the next so many deliveries, which come soon."""
    taken: list[Delivery] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(taken) < count:
            taken += await subscription.take(count - len(taken))
    return taken


async def takes_nothing(subscription: Subscription, seconds: float = 0.15) -> bool:
    """Say whether nothing comes for a while."""
    try:
        async with asyncio.timeout(seconds):
            return await subscription.take() == []
    except TimeoutError:
        return True


def bodies(deliveries: Sequence[Delivery]) -> list[bytes]:
    """Return the bodies of deliveries, in their order."""
    return [delivery.envelope.data for delivery in deliveries]


def by_key(deliveries: Sequence[Delivery]) -> dict[str, list[bytes]]:
    """Return the bodies of each key, in the order in which they came."""
    found: dict[str, list[bytes]] = {}
    for delivery in deliveries:
        found.setdefault(delivery.envelope.key, []).append(delivery.envelope.data)
    return found


def sent_by_key(published: Sequence[Envelope]) -> dict[str, list[bytes]]:
    """Return the bodies of each key, in the order in which they were published."""
    found: dict[str, list[bytes]] = {}
    for each in published:
        found.setdefault(each.key, []).append(each.data)
    return found


async def until(is_true: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it is; a wait without end is a failure."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not await is_true():
        assert time.monotonic() < give_up, "it never came to that"
        await asyncio.sleep(0.01)


async def patiently(ask: Callable[[], Awaitable[T]], *errors: type[Exception]) -> T:
    """Return the answer, asking again as long as it is one of *errors*."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return await ask()
        except errors:
            if time.monotonic() > give_up:
                raise
            await asyncio.sleep(0.02)


async def publish_patiently(broker: Broker, published: Sequence[Envelope]) -> None:
    """Publish again what is not stored, until everything is, as a relay does."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    left = list(published)
    while left:
        assert time.monotonic() < give_up, "the broker never came back"
        outcomes: list[FinalityError | None] = await broker.publish(left)
        left = [each for each, outcome in zip(left, outcomes, strict=True) if outcome is not None]
        await asyncio.sleep(0.02 if left else 0.0)


def run(story: Coroutine[Any, Any, T]) -> T:
    """Run a story to its end, which comes soon."""

    async def bounded() -> T:
        async with asyncio.timeout(4 * PATIENCE_SECONDS):
            return await story

    return asyncio.run(bounded())


async def takes_no_more_than(connection: Broker, unacknowledged_max: int) -> bool:
    """Say whether whoever acknowledges nothing is given so many events, and then the others."""
    topic = topic_name()
    await connection.declare(topic, partitions=1)
    published = events(topic, unacknowledged_max + 2)
    await publish(connection, *published)
    subscription = await connection.subscribe(topic, "stock", [0])
    taken = await take(subscription, unacknowledged_max)
    if not await takes_nothing(subscription):
        return False
    await subscription.ack(taken)
    return bodies(taken + await take(subscription, 2)) == [each.data for each in published]
