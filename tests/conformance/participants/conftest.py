"""Runs each test of the participants against every adapter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.participants.postgres_world import PostgresWorld
from tests.conformance.participants.sqlite_world import SqliteWorld
from tests.conformance.participants.worlds import World


def _postgres(request: pytest.FixtureRequest) -> World:
    return PostgresWorld(request.getfixturevalue("finality_postgres"))


def _sqlite(request: pytest.FixtureRequest) -> World:
    return SqliteWorld(request.getfixturevalue("tmp_path"))


MAKERS = {"sqlite": _sqlite, "postgres": _postgres}


@pytest.fixture(params=MAKERS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    world = MAKERS[request.param](request)
    yield world
    world.close()
