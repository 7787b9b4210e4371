"""Runs each test of the participants against every adapter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.participants.kinds import KINDS
from tests.conformance.participants.worlds import World


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    world = KINDS[request.param].make(request)
    yield world
    world.close()
