"""The test kit: simulated clock, processes and services, real servers, ``crash_everywhere`` for sagas.

Every name is imported when it is first used, so that a test run which needs none of it pays nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from finality.testing.chaos import Chaos, Rates
    from finality.testing.crashes import CrashFound, CrashReport, crash_everywhere
    from finality.testing.disk import SimulatedDisk
    from finality.testing.environment import SimulatedEnvironment
    from finality.testing.fixtures import given
    from finality.testing.golden_files import golden
    from finality.testing.kafka_server import KafkaServer, kafka
    from finality.testing.loop import SimulatedLoop
    from finality.testing.mariadb_server import MariaDbServer, mariadb
    from finality.testing.nats_server import NatsCluster, nats
    from finality.testing.participant import SimulatedBranch, SimulatedParticipant
    from finality.testing.postgres_server import PostgresServer, postgres
    from finality.testing.proxy import Proxy
    from finality.testing.rabbitmq_server import RabbitMqServer, rabbitmq
    from finality.testing.server_process import ServerFailed
    from finality.testing.service import NoAnswer, ServiceFaults, SimulatedService
    from finality.testing.valkey_server import ValkeyServer, valkey
    from finality.testing.walk import Counterexample, Walked, walk
    from finality.testing.world import Died, SimulatedNode, World

_HOMES = {
    "finality.testing.chaos": "Chaos Rates",
    "finality.testing.crashes": "CrashFound CrashReport crash_everywhere",
    "finality.testing.disk": "SimulatedDisk",
    "finality.testing.environment": "SimulatedEnvironment",
    "finality.testing.fixtures": "given",
    "finality.testing.golden_files": "golden",
    "finality.testing.kafka_server": "KafkaServer kafka",
    "finality.testing.loop": "SimulatedLoop",
    "finality.testing.mariadb_server": "MariaDbServer mariadb",
    "finality.testing.nats_server": "NatsCluster nats",
    "finality.testing.participant": "SimulatedBranch SimulatedParticipant",
    "finality.testing.postgres_server": "PostgresServer postgres",
    "finality.testing.proxy": "Proxy",
    "finality.testing.rabbitmq_server": "RabbitMqServer rabbitmq",
    "finality.testing.server_process": "ServerFailed",
    "finality.testing.service": "NoAnswer ServiceFaults SimulatedService",
    "finality.testing.valkey_server": "ValkeyServer valkey",
    "finality.testing.walk": "Counterexample Walked walk",
    "finality.testing.world": "Died SimulatedNode World",
}
_HOME_OF = {name: module for module, listed in _HOMES.items() for name in listed.split()}

__all__ = [
    "Chaos",
    "Counterexample",
    "CrashFound",
    "CrashReport",
    "Died",
    "KafkaServer",
    "MariaDbServer",
    "NatsCluster",
    "NoAnswer",
    "PostgresServer",
    "Proxy",
    "RabbitMqServer",
    "Rates",
    "ServerFailed",
    "ServiceFaults",
    "SimulatedBranch",
    "SimulatedDisk",
    "SimulatedEnvironment",
    "SimulatedLoop",
    "SimulatedNode",
    "SimulatedParticipant",
    "SimulatedService",
    "ValkeyServer",
    "Walked",
    "World",
    "crash_everywhere",
    "given",
    "golden",
    "kafka",
    "mariadb",
    "nats",
    "postgres",
    "rabbitmq",
    "valkey",
    "walk",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'finality.testing' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
