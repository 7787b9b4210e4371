"""The pytest plugin: fixtures for tests of your own sagas. It imports the kit only where one is used.

```python
def test_a_trip_survives_every_crash(crash_everywhere):
    crash_everywhere(BookTrip("visa"), setup=create_tables, invariants=money_is_conserved)
```

| fixture            | gives                                                              |
| ------------------ | ------------------------------------------------------------------ |
| `crash_everywhere` | the function of that name, with ``--finality-seed`` filled in      |
| `finality_node`    | a synchronous node on a store in memory, closed after the test     |
| `finality_postgres`| a PostgreSQL server, started once and stopped after the last test  |
| `finality_mariadb` | a MariaDB server, likewise; skips where the system has none           |
| `finality_nats`    | a NATS server with JetStream, likewise                             |
| `finality_valkey`  | a Valkey server, which speaks Redis, likewise                      |
| `simulation`       | makes worlds of simulated nodes, closed after the test             |
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from finality.node import Node
    from finality.testing.crashes import CrashReport
    from finality.testing.mariadb_server import MariaDbServer
    from finality.testing.nats_server import NatsCluster
    from finality.testing.postgres_server import PostgresServer
    from finality.testing.valkey_server import ValkeyServer
    from finality.testing.world import World

SEED = "--finality-seed"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that replays a simulation."""
    group = parser.getgroup("finality")
    group.addoption(SEED, type=int, default=None, metavar="N", help="what decides the order in simulations")


@pytest.fixture
def crash_everywhere(request: pytest.FixtureRequest) -> Callable[..., CrashReport]:
    """Run a saga once per crash point and check what came of it."""
    from finality.testing.crashes import crash_everywhere

    return functools.partial(crash_everywhere, seed=request.config.getoption(SEED) or 0)


@pytest.fixture
def finality_node() -> Iterator[Node]:
    """Give a node on a store in memory that nobody else has."""
    import uuid

    from finality.node import open

    with open(f"memory://{uuid.uuid4()}") as node:
        yield node


@pytest.fixture(scope="session")
def finality_postgres() -> Iterator[PostgresServer]:
    """Give a server that all tests of this process share: take a ``database()`` of your own in it."""
    from finality.testing.postgres_server import postgres

    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def finality_mariadb() -> Iterator[MariaDbServer]:
    """Give a server that all tests of this process share: take a ``database()`` of your own in it."""
    from finality.testing.mariadb_server import mariadb

    skip_without_mariadb()
    with mariadb() as server:
        yield server


@pytest.fixture(scope="session")
def finality_nats() -> Iterator[NatsCluster]:
    """Give a server that all tests of this process share: take topics of your own in it."""
    from finality.testing.nats_server import nats

    with nats() as server:
        yield server


@pytest.fixture(scope="session")
def finality_valkey() -> Iterator[ValkeyServer]:
    """Give a server that all tests of this process share: take topics of your own in it."""
    from finality.testing.valkey_server import valkey

    with valkey() as server:
        yield server


def skip_without_mariadb() -> None:
    """Skip the test where no MariaDB is installed; fail it where the variable CI is ``true``."""
    from finality.testing.mariadb_server import INSTALL, has_mariadb

    if not has_mariadb():
        _skip(f"no MariaDB server is installed here: {INSTALL}")


def skip_without_kafka() -> Path:
    """Return where Apache Kafka's jars are; skip the test where they are not, fail it in CI."""
    from finality.testing.kafka_server import JARS, apache_jars

    jars = apache_jars()
    if jars is None:
        _skip(f"Apache Kafka's jars are not in {JARS}: make kafka")
    return jars


def skip_without_rabbitmq() -> None:
    """Skip the test where no RabbitMQ is installed; fail it in CI."""
    from finality.testing.rabbitmq_server import INSTALL, has_rabbitmq

    if not has_rabbitmq():
        _skip(f"no RabbitMQ is installed here: {INSTALL}")


def _skip(told: str) -> NoReturn:
    """Skip the test; fail it where nobody reads what was skipped."""
    import os

    if os.environ.get("CI") == "true":
        pytest.fail(told)
    pytest.skip(told)


@pytest.fixture
def simulation(request: pytest.FixtureRequest) -> Iterator[Callable[..., World]]:
    """Make worlds of simulated nodes: ``world = simulation([BookTrip], stores=["bank"])``."""
    from finality.testing.world import World

    worlds: list[World] = []

    def make(*args: Any, **keywords: Any) -> World:
        keywords.setdefault("seed", request.config.getoption(SEED) or 0)
        world = World(*args, **keywords)
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        world.close()
