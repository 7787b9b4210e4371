"""Whole nodes under everything that can go wrong: thousands of seeds, and no promise is ever broken.

Each test takes a range of seeds. A failure names its seed; this runs it alone:

    pytest tests/sim/test_simulation.py --finality-seed 1234

FINALITY_SIM_FIRST_SEED=100000 explores other seeds than the usual ones.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable

import pytest

from tests.sim.conftest import COUNTED
from tests.sim.simulation import simulate

SEEDS = 2_000
SEEDS_A_TEST = 50
FIRST_SEED = int(os.environ.get("FINALITY_SIM_FIRST_SEED", "0"))

# What a range must have seen, so that all of them together have seen what TESTING asks for:
# 200,000 transactions and 50,000 faults.
TRANSACTIONS_MIN = SEEDS_A_TEST * 100
FAULTS_MIN = SEEDS_A_TEST * 25


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """Keep a hundred thousand planned troubles out of the log."""
    logging.getLogger("finality").setLevel(logging.CRITICAL)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(FIRST_SEED, FIRST_SEED + SEEDS, SEEDS_A_TEST))
def test_every_transaction_ends_whole_or_undone(
    first: int, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    only = request.config.getoption("--finality-seed")
    if only is not None and first != FIRST_SEED:
        pytest.skip("one seed was asked for")
    seeds = range(first, first + SEEDS_A_TEST) if only is None else [only]
    counts: Counter[str] = Counter()
    for seed in seeds:
        result = simulate(seed)
        faults = sum(result.faults.values())
        counts.update(seeds=1, transactions=result.transactions, faults=faults)
        counts.update({f"… {fault}": count for fault, count in result.faults.items()})
        counts.update({f"transactions {end}": count for end, count in result.ends.items()})
    record_property(COUNTED, dict(counts))

    assert counts["transactions"] >= (TRANSACTIONS_MIN if only is None else 1)
    assert counts["faults"] >= (FAULTS_MIN if only is None else 0)


def test_a_quiet_day_has_no_faults_and_undoes_nothing() -> None:
    result = simulate(0, transactions=30)

    assert not result.faults
    assert result.ends["completed"] >= 28  # A person says no to some, in life as here.
