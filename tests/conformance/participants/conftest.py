"""Runs each test of the participants against every adapter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.participants.mariadb_world import MariaDbWorld
from tests.conformance.participants.postgres_world import PostgresWorld
from tests.conformance.participants.worlds import World


def _postgres(request: pytest.FixtureRequest) -> World:
    return PostgresWorld(request.getfixturevalue("finality_postgres"))


def _mariadb(request: pytest.FixtureRequest) -> World:
    return MariaDbWorld(request.getfixturevalue("finality_mariadb"))


MAKERS = {"postgres": _postgres, "mariadb": _mariadb}


@pytest.fixture(params=MAKERS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    world = MAKERS[request.param](request)
    yield world
    world.close()
