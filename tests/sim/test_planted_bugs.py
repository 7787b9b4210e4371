"""Every mistake that is planted into the engine is caught: a checker is software, and tested like it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from finality.testing import crash_everywhere
from tests.sim.planted import (
    PLANTED,
    Planted,
    Purchase,
    all_or_nothing,
    caught_by_crashes,
    caught_by_simulation,
    open_shop,
)

TABLE = Path(__file__).resolve().parents[2] / "docs" / "internals" / "planted-bugs.md"


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """Keep what the planted mistakes cause out of the log."""
    logging.getLogger("finality").setLevel(logging.CRITICAL)


def name_of(planted: Planted) -> str:
    """Return the test's name."""
    return planted.plant.__name__


@pytest.mark.slow
def test_the_engine_itself_is_sound() -> None:
    """Without a mistake the same saga survives everything, or the tests below would prove nothing."""
    report = crash_everywhere(Purchase(7), setup=open_shop, invariants=all_or_nothing, stores=["bank"])

    assert report.crashes > 500
    assert report.pauses > 200


@pytest.mark.slow
@pytest.mark.parametrize("planted", PLANTED, ids=name_of)
def test_crash_everywhere_catches(planted: Planted) -> None:
    found = caught_by_crashes(planted.plant)

    assert found is not None
    assert "run just this again: crash_everywhere(…, only" in found


@pytest.mark.slow
@pytest.mark.parametrize("planted", [planted for planted in PLANTED if planted.is_simulated], ids=name_of)
def test_the_simulation_catches(planted: Planted) -> None:
    assert caught_by_simulation(planted.plant) is not None


def test_the_table_names_every_mistake() -> None:
    table = TABLE.read_text("utf-8")

    assert [planted.sentence for planted in PLANTED if planted.sentence not in table] == []
