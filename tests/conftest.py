"""What all tests share: servers that take seconds to start, so take topics of your own; and a clean end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import finality.testing
from finality.runtime import timers
from finality.testing.kafka_server import KafkaServer
from finality.testing.plugin import skip_without_kafka, skip_without_rabbitmq
from finality.testing.rabbitmq_server import RabbitMqServer


@pytest.fixture(autouse=True)
def _the_clock_is_looked_at_as_before() -> Iterator[None]:
    """Undo what ``MovedClock`` sets."""
    seconds = timers.CLOCK_SECONDS
    yield
    timers.CLOCK_SECONDS = seconds


@pytest.fixture(scope="session")
def apache_kafka() -> Iterator[KafkaServer]:
    """Give the real one: what it does in a crash is what is asked here."""
    with finality.testing.kafka(
        jars=skip_without_kafka(), settings={"log.flush.interval.messages": "1"}
    ) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitMqServer]:
    """Give Debian's, which knows already that it has streams."""
    from tests.conformance.brokers.rabbitmq_world import settle

    skip_without_rabbitmq()
    with finality.testing.rabbitmq() as server:
        settle(server)
        yield server
