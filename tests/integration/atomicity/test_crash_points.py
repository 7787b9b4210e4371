"""A process is killed at every crash point, and again while it recovers: the banks agree afterwards."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from finality.ports.environment import (
    COMMIT_AFTER,
    COMMIT_BEFORE,
    CRASH_POINTS,
    FINISH_AFTER,
    FINISH_BEFORE,
    PREPARE_AFTER,
    PREPARE_BEFORE,
)
from tests.integration.atomicity.bank import Bank, audit, ended, start, what_was_told

pytestmark = pytest.mark.slow

OURS = (PREPARE_BEFORE, PREPARE_AFTER, COMMIT_BEFORE, COMMIT_AFTER, FINISH_BEFORE, FINISH_AFTER)
BRANCHES = 4
IN_RECOVERY = (COMMIT_BEFORE, COMMIT_AFTER, FINISH_BEFORE, FINISH_AFTER)


def cases() -> list[tuple[str, int]]:
    """Return each point, and how often it is passed before the death: by the first branch, and by all."""
    of_a_branch = [point for point in OURS if not point.startswith("commit")]
    return [
        *((point, 1) for point in (COMMIT_BEFORE, COMMIT_AFTER)),
        *itertools.product(of_a_branch, (1, BRANCHES)),
    ]


def test_no_crash_point_is_left_out() -> None:
    others = ("step.", "compensation.", "pre_commit.", "publish.", "reaction.", "projection.", "switch.")
    of_others = {point for point in CRASH_POINTS if point.startswith(others)}

    assert set(CRASH_POINTS) - of_others == set(OURS)


@pytest.mark.parametrize("victim", ["coordinator", "postgres", "mariadb", "service"])
@pytest.mark.parametrize("point, times", cases())
def test_every_branch_agrees_wherever_the_coordinator_dies(
    tmp_path: Path, banks: list[Bank], point: str, times: int, victim: str
) -> None:
    """Its participants' servers are killed with it, and start again; a second death meets the recovery."""
    assert ended(tmp_path, start(tmp_path, banks, point=point, times=times, parties=BRANCHES)) == -9
    for bank in banks:
        if bank.name == victim:
            assert bank.server is not None
            bank.server.kill()
            bank.server.start()
    again = IN_RECOVERY[(OURS.index(point) + times) % len(IN_RECOVERY)]
    ended(tmp_path, start(tmp_path, banks, is_recovering=True, point=again, times=1))
    assert ended(tmp_path, start(tmp_path, banks, is_recovering=True)) == 0

    audit(banks, what_was_told(tmp_path))
