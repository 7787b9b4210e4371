"""Runs each test of the stores against every adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.worlds import KINDS, POSTGRES, World

SERVED = pytest.param(POSTGRES, marks=[pytest.mark.slow, pytest.mark.xdist_group("postgres")])


@pytest.fixture(params=[*KINDS, SERVED])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """Give a database of each adapter; one on a server where it is called ``postgres``."""
    if request.param != POSTGRES:
        return World(request.param, tmp_path)
    return World(POSTGRES, tmp_path, request.getfixturevalue("finality_postgres").database())


@pytest.fixture(params=KINDS)
def embedded(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """Give a database that speaks SQLite's dialect, and has one write turn for all who have it open."""
    return World(request.param, tmp_path)


@pytest.fixture(params=KINDS[1:])
def sqlite(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(request.param, tmp_path)
