"""The adapters that the suite runs against. A new one joins by a world of its own and a line here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.participants.borrowed_worlds import (
    MariaDbEngineWorld,
    PostgresEngineWorld,
    PsycopgWorld,
)
from tests.conformance.participants.mariadb_world import MariaDbWorld
from tests.conformance.participants.postgres_world import PostgresWorld
from tests.conformance.participants.sqlite_world import SqliteWorld
from tests.conformance.participants.worlds import World

# The oldest that the system has, beside the newest from the wheel.
DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


class DebianPostgresWorld(PostgresWorld):
    """An older server."""

    fixture = "debian_postgres"


KINDS: dict[str, type[World]] = {
    "sqlite": SqliteWorld,
    "postgres": PostgresWorld,
    "sqlalchemy": PostgresEngineWorld,
    "psycopg": PsycopgWorld,
    "mariadb": MariaDbWorld,
    "sqlalchemy-mariadb": MariaDbEngineWorld,
}
if DEBIAN:
    KINDS["debian"] = DebianPostgresWorld


def only(*traits: str) -> pytest.MarkDecorator:
    """Run a test against those adapters alone that have all *traits*; marks do not add up."""
    having = [name for name, kind in KINDS.items() if all(getattr(kind, trait) for trait in traits)]
    return pytest.mark.parametrize("world", having, indirect=True)
