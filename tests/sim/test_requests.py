"""Requests under everything that can go wrong, by seed, and the mistakes that this must catch."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

import pytest

from finality.core.request import ANSWERED, EXPIRED, REFUSED
from tests.sim.conftest import COUNTED
from tests.sim.planted_relay import Patch, caught
from tests.sim.planted_requests import PLANTED
from tests.sim.requests import simulate
from tests.sim.test_reactions import TABLE

SEEDS = 50


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """Keep planned troubles out of the log."""
    logging.getLogger("finality").setLevel(logging.CRITICAL)


@pytest.mark.slow
def test_every_request_ends_once_with_one_effect_and_a_late_answer_changes_nothing(
    record_property: Callable[[str, object], None],
) -> None:
    counts: Counter[str] = Counter()
    for seed in range(SEEDS):
        result = simulate(seed)
        counts.update(result.faults, requests=result.events)
    record_property(COUNTED, {"requests": counts["requests"]})

    a_seed = {ANSWERED: 4, EXPIRED: 3, REFUSED: 0.1, "answered late": 0.5, "kill": 0.1}
    a_seed |= {"event lost": 0.3, "event doubled": 0.3, "event late": 0.3}
    assert {name: counts[name] for name, share in a_seed.items() if counts[name] < share * SEEDS} == {}


@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_the_simulation_catches(plant: Callable[[Patch], None]) -> None:
    assert caught(plant, simulate) is not None
    assert (plant.__doc__ or "").strip().rstrip(".") in TABLE.read_text("utf-8")
