"""The relay under everything that can go wrong, by seed, and the mistakes that this must catch."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sim.conftest import COUNTED
from tests.sim.planted_relay import PLANTED, Patch, caught
from tests.sim.relay import simulate

SEEDS = 80
SEEDS_A_TEST = 40
TABLE = Path(__file__).resolve().parents[2] / "docs" / "internals" / "planted-bugs.md"


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """Keep planned troubles out of the log."""
    logging.getLogger("finality").setLevel(logging.CRITICAL)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_A_TEST))
def test_every_event_is_relayed_once_at_least_and_in_the_order_of_its_key(
    first: int, record_property: Callable[[str, object], None]
) -> None:
    counts: Counter[str] = Counter()
    for seed in range(first, first + SEEDS_A_TEST):
        result = simulate(seed)
        counts.update({"events": result.events, "faults of relays": result.faults.total()})
    record_property(COUNTED, dict(counts))

    assert counts["events"] > SEEDS_A_TEST * 50
    assert counts["faults of relays"] > SEEDS_A_TEST * 5


@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_the_simulation_catches(plant: Callable[[Patch], None]) -> None:
    assert caught(plant) is not None


def test_the_table_names_every_mistake() -> None:
    table = TABLE.read_text("utf-8")

    for plant in PLANTED:
        assert (plant.__doc__ or "").strip().rstrip(".") in table
