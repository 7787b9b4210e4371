"""RabbitMQ: Debian's, one node that the session shares."""

from __future__ import annotations

import asyncio
from typing import Self

import aio_pika
import pytest

from finality.adapters.rabbitmq.broker import RabbitMqBroker, broker
from finality.adapters.system.environment import SystemEnvironment
from finality.testing.rabbitmq_server import RabbitMqServer


def settle(server: RabbitMqServer) -> None:
    """Let a new node write down that it has streams: 3.10 that is killed before has none that work."""

    async def story() -> None:
        first = broker(server.url)
        await first.open(SystemEnvironment())
        await first.declare("the-first-topic", partitions=1)
        await first.close()

    asyncio.run(story())
    server.tell("eval", "[dets:sync(Table) || Table <- dets:all()].")


class RabbitMqWorld:
    """Fulfils ``World``."""

    is_shared = is_durable = can_die = has_foreigners = True
    unsafe: tuple[str, ...] = ("keep", "replicas")

    def __init__(self, server: RabbitMqServer) -> None:
        self._server = server

    @classmethod
    def make(cls, request: pytest.FixtureRequest) -> Self:
        """Return it on the session's node."""
        return cls(request.getfixturevalue("rabbitmq_server"))

    @property
    def url(self) -> str:
        """Return a URL that asks for as many replicas as there should be."""
        return f"{self._server.url}?replicas=3"

    def broker(self) -> RabbitMqBroker:
        """Return one more connection."""
        return broker(self.url)

    def code(self) -> str:
        """Return what makes a connection."""
        return f"finality.adapters.rabbitmq.broker:broker({self.url!r})"

    def misset(self, word: str) -> RabbitMqBroker:
        """Return a connection that keeps events for an hour, or on one node."""
        return broker(f"{self.url}&keep=3600" if word == "keep" else self._server.url)

    async def publish_foreign(self, topic: str, body: bytes) -> None:
        """Publish with the client's own API."""
        async with await aio_pika.connect(self._server.url) as connection:
            exchange = await (await connection.channel()).get_exchange(topic)
            await exchange.publish(aio_pika.Message(body), "0")

    def kill(self) -> None:
        """Kill the node."""
        self._server.kill()

    def start(self) -> None:
        """Start it again."""
        self._server.start()

    def close(self) -> None:
        """Nothing is left but topics that nobody has again."""
