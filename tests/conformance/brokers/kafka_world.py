"""Apache Kafka: one node, which flushes what it stores."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Self

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from finality.adapters.kafka.broker import KafkaBroker, broker
from finality.testing.kafka_server import KafkaServer

WRONG = {
    "unclean": {"unclean.leader.election.enable": "true"},
    "retention": {"log.retention.ms": "3600000"},
    "flush": {"log.flush.interval.messages": "10000"},
}


class KafkaWorld:
    """Fulfils ``World``."""

    is_shared = is_durable = can_die = has_foreigners = True
    unsafe: tuple[str, ...] = tuple(WRONG)

    def __init__(self, server: KafkaServer) -> None:
        self._server = server
        self._is_misset = False

    @classmethod
    def make(cls, request: pytest.FixtureRequest) -> Self:
        """Return it on the session's server."""
        return cls(request.getfixturevalue("apache_kafka"))

    def broker(self) -> KafkaBroker:
        """Return one more connection."""
        return broker(self._server.url)

    def code(self) -> str:
        """Return what makes a connection."""
        return f"finality.adapters.kafka.broker:broker({self._server.url!r})"

    def misset(self, word: str) -> KafkaBroker:
        """Set the node wrongly while it runs."""
        self._set(WRONG[word])
        return self.broker()

    def _set(self, settings: dict[str, str]) -> None:
        """Set these beside what it was started with, in place of those that were set so before."""
        self._is_misset = bool(settings)
        aside(self.alter(ConfigResourceType.BROKER, "1", settings))

    async def alter(self, kind: ConfigResourceType, name: str, settings: dict[str, str]) -> None:
        """Give the node or a topic these settings, and none beside."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._address)
        await admin.start()
        try:
            await admin.alter_configs([ConfigResource(kind, name, settings)])
        finally:
            await admin.close()

    @property
    def _address(self) -> str:
        return f"127.0.0.1:{self._server.port}"

    async def publish_foreign(self, topic: str, body: bytes) -> None:
        """Publish with the client's own API."""
        async with AIOKafkaProducer(bootstrap_servers=self._address) as producer:
            await producer.send_and_wait(topic, body, partition=0)

    def kill(self) -> None:
        """Kill the node."""
        self._server.kill()

    def start(self) -> None:
        """Start it again."""
        self._server.start()

    def close(self) -> None:
        """Set it rightly again."""
        if self._is_misset:
            self._set({})


def aside(story: Coroutine[Any, Any, None]) -> None:
    """Run a story to its end where another one runs already."""
    failures: list[BaseException] = []

    def tell() -> None:
        try:
            asyncio.run(story)
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=tell)
    thread.start()
    thread.join()
    assert not failures, failures
