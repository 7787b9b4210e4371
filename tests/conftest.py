"""What all tests share: servers that take seconds to start, so take topics of your own; and a clean end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from finality.runtime import timers
from finality.testing.plugin import skip_without_kafka, skip_without_rabbitmq
from tests.integration.guarded_servers import GuardedKafka, GuardedRabbitMq


@pytest.fixture(autouse=True)
def _the_clock_is_looked_at_as_before() -> Iterator[None]:
    """Undo what ``MovedClock`` sets."""
    seconds = timers.CLOCK_SECONDS
    yield
    timers.CLOCK_SECONDS = seconds


@pytest.fixture(scope="session")
def apache_kafka() -> Iterator[GuardedKafka]:
    """Give the real one: what it does in a crash is what is asked here."""
    with GuardedKafka(skip_without_kafka()) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[GuardedRabbitMq]:
    """Give Debian's, which knows already that it has streams."""
    from tests.conformance.brokers.rabbitmq_world import settle

    skip_without_rabbitmq()
    with GuardedRabbitMq() as server:
        settle(server)
        yield server
