"""Runs each test of the stores against every adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.worlds import KINDS, World


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(request.param, tmp_path)


@pytest.fixture(params=KINDS[1:])
def sqlite(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(request.param, tmp_path)
