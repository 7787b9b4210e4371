"""Runs each test of the brokers against every adapter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.brokers.kinds import KINDS, params
from tests.conformance.brokers.worlds import World


@pytest.fixture(params=params())
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    world = KINDS[request.param].make(request)
    yield world
    world.close()
