"""Whole nodes under everything that can go wrong: thousands of seeds, and no promise is ever broken.

Each test takes a range of seeds. A failure names its seed; this runs it alone:

    pytest tests/sim/test_simulation.py --finality-seed 1234

FINALITY_SIM_FIRST_SEED=100000 explores other seeds than the usual ones.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.sim.conftest import COUNTED
from tests.sim.simulation import simulate

SEEDS = 2_000
SEEDS_A_TEST = 50
SQLITE_SEEDS = 100
SQLITE_SEEDS_A_TEST = 25
FIRST_SEED = int(os.environ.get("FINALITY_SIM_FIRST_SEED", "0"))

# What a range must have seen, so that all of them together have seen what TESTING asks for:
# 200,000 transactions and 50,000 faults.
TRANSACTIONS_MIN = SEEDS_A_TEST * 100
FAULTS_MIN = SEEDS_A_TEST * 25


Record = Callable[[Counter[str]], None]


@pytest.fixture
def record(record_property: Callable[[str, object], None]) -> Record:
    """Hand what was counted to the summary at the end of the run."""
    return lambda counts: record_property(COUNTED, dict(counts))


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """Keep a hundred thousand planned troubles out of the log."""
    logging.getLogger("finality").setLevel(logging.CRITICAL)


def counted(seeds: Iterable[int], directory: Path | None = None) -> Counter[str]:
    """Run these simulations and add up what they saw."""
    counts: Counter[str] = Counter()
    for seed in seeds:
        place = None if directory is None else directory / str(seed)
        if place is not None:
            place.mkdir()
        result = simulate(seed, directory=place)
        counts.update(seeds=1, transactions=result.transactions, faults=sum(result.faults.values()))
        counts.update({f"… {fault}": count for fault, count in result.faults.items()})
        counts.update({f"transactions {end}": count for end, count in result.ends.items()})
        if place is not None:
            shutil.rmtree(place)
    return counts


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(FIRST_SEED, FIRST_SEED + SEEDS, SEEDS_A_TEST))
def test_every_transaction_ends_whole_or_undone(
    first: int, request: pytest.FixtureRequest, record: Record
) -> None:
    only = request.config.getoption("--finality-seed")
    if only is not None and first != FIRST_SEED:
        pytest.skip("one seed was asked for")
    counts = counted(range(first, first + SEEDS_A_TEST) if only is None else [only])
    record(counts)

    assert counts["transactions"] >= (TRANSACTIONS_MIN if only is None else 1)
    assert counts["faults"] >= (FAULTS_MIN if only is None else 0)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(FIRST_SEED, FIRST_SEED + SQLITE_SEEDS, SQLITE_SEEDS_A_TEST))
def test_so_it_does_on_sqlite_when_the_power_fails(first: int, record: Record, tmp_path: Path) -> None:
    """The production adapter, on a disk whose writes fail and that forgets what was not flushed."""
    counts = counted(range(first, first + SQLITE_SEEDS_A_TEST), tmp_path)
    record(counts)

    assert counts["transactions"] >= SQLITE_SEEDS_A_TEST * 100
    assert counts["… power failure"] > 0
    assert counts["… disk error"] > 0


def test_a_quiet_day_has_no_faults_and_undoes_nothing() -> None:
    result = simulate(0, transactions=30)

    assert not result.faults
    assert result.ends["completed"] >= 28  # A person says no to some, in life as here.
