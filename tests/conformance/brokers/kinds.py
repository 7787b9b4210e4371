"""The brokers that the suite runs against. A new one joins by a world of its own and a line here."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.brokers.kafka_world import KafkaWorld
from tests.conformance.brokers.memory_world import MemoryWorld
from tests.conformance.brokers.nats_world import NatsWorld
from tests.conformance.brokers.rabbitmq_world import RabbitMqWorld
from tests.conformance.brokers.redis_world import RedisWorld
from tests.conformance.brokers.sqlite_world import SqliteWorld
from tests.conformance.brokers.worlds import World

KINDS: dict[str, type[World]] = {
    "memory": MemoryWorld,
    "nats": NatsWorld,
    "redis": RedisWorld,
    "sqlite": SqliteWorld,
    "kafka": KafkaWorld,
    "rabbitmq": RabbitMqWorld,
}
SERVED = frozenset({"kafka", "rabbitmq", "nats", "redis"})
"""Those with a server, which one process of the test run has to itself."""


def params(*traits: str) -> list[Any]:
    """Return the kinds that have all *traits*, as a fixture takes them."""
    having = [name for name, kind in KINDS.items() if all(getattr(kind, trait) for trait in traits)]
    return [
        pytest.param(name, marks=[pytest.mark.slow, pytest.mark.xdist_group(name)])
        if name in SERVED
        else name
        for name in having
    ]


def only(*traits: str) -> pytest.MarkDecorator:
    """Run a test against those brokers alone that have all *traits*."""
    return pytest.mark.parametrize("world", params(*traits), indirect=True)
