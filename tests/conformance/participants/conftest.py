"""Runs each test of the participants against every adapter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from finality.testing import PostgresServer, postgres
from tests.conformance.participants.kinds import DEBIAN, KINDS
from tests.conformance.participants.worlds import World


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    world = KINDS[request.param].make(request)
    yield world
    world.close()


@pytest.fixture(scope="session")
def debian_postgres() -> Iterator[PostgresServer]:
    with postgres(bin=DEBIAN[0]) as server:
        yield server
