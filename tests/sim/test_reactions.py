"""Reactions under everything that can go wrong, by seed, and the mistakes that this must catch."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sim.conftest import COUNTED
from tests.sim.planted_reactions import PLANTED
from tests.sim.planted_relay import Patch, caught
from tests.sim.reactions import simulate

SEEDS = range(1, 6)
SQLITE_SEED = 2
TABLE = Path(__file__).resolve().parents[2] / "docs" / "internals" / "planted-bugs.md"


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """Keep planned troubles out of the log."""
    logging.getLogger("finality").setLevel(logging.CRITICAL)


@pytest.mark.slow
def test_every_event_takes_effect_once_and_in_the_order_of_its_key(
    record_property: Callable[[str, object], None],
) -> None:
    counts: Counter[str] = Counter()
    for seed in SEEDS:
        result = simulate(seed)
        counts.update({"events": result.events, "faults of reactions": result.faults.total()})
    record_property(COUNTED, dict(counts))

    assert counts["events"] > len(SEEDS) * 10
    assert counts["faults of reactions"] > len(SEEDS) * 2


@pytest.mark.slow
def test_it_does_so_on_sqlite_too(tmp_path: Path) -> None:
    assert simulate(SQLITE_SEED, tmp_path).events > 0


@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_the_simulation_catches(plant: Callable[[Patch], None]) -> None:
    assert caught(plant, simulate) is not None
    assert (plant.__doc__ or "").strip().rstrip(".") in TABLE.read_text("utf-8")
