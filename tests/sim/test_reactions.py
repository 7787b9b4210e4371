"""Reactions under everything that can go wrong, by seed, and the mistakes that this must catch."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sim.conftest import COUNTED
from tests.sim.planted_reactions import PLANTED, PLANTED_ON_DISK
from tests.sim.planted_relay import Patch, caught
from tests.sim.reactions import simulate, simulate_on_disk
from tests.sim.relay import Result

SEEDS = range(1, 6)
DISK_SEEDS = (4, 5)
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
def test_it_does_so_on_one_disk_with_its_broker_when_the_power_fails() -> None:
    counts = sum((simulate_on_disk(seed).faults for seed in DISK_SEEDS), Counter[str]())

    assert counts["power failure"] >= len(DISK_SEEDS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "plant, run",
    [(plant, simulate) for plant in PLANTED] + [(plant, simulate_on_disk) for plant in PLANTED_ON_DISK],
    ids=lambda each: each.__name__,
)
def test_the_simulation_catches(plant: Callable[[Patch], None], run: Callable[[int], Result]) -> None:
    assert caught(plant, run) is not None
    assert (plant.__doc__ or "").strip().rstrip(".") in TABLE.read_text("utf-8")
