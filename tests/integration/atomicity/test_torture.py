"""A thousand random transactions while processes and servers are killed and paused: all banks agree."""

from __future__ import annotations

import os
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from tests.integration.atomicity.bank import (
    COMMITTED,
    Bank,
    audit,
    ended,
    start,
    what_was_told,
)
from tests.integration.atomicity.test_crash_points import OURS

pytestmark = pytest.mark.slow

SEED = 7
KILLS_MIN, TRANSACTIONS_MIN = 100, 1_000
LIVES_AT_ONCE = 2
GRACE_SECONDS = 0.2  # Shorter than a pause, so that what a paused process has prepared is given up.
PAUSE_SECONDS = 0.4


def lives(folder: Path, banks: list[Bank], dice: random.Random) -> BaseProcess:
    """Start a process that dies after some transactions."""
    return start(
        folder, banks, seed=dice.random(), point=dice.choice(OURS), times=dice.randint(10, 60), clients=4,
        transfers=1_000, grace=GRACE_SECONDS,
    )  # fmt: skip


def pause(process: BaseProcess) -> bool:
    """Stop a process for longer than the others wait for it; say whether it was still alive."""
    assert process.pid is not None
    if not process.is_alive():
        return False
    try:
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(PAUSE_SECONDS)  # The pause is what is tested.
        os.kill(process.pid, signal.SIGCONT)
    except ProcessLookupError:  # It had just died.
        return False
    return True


@pytest.mark.timeout(300)
def test_a_thousand_transactions_survive_a_hundred_kills(tmp_path: Path, banks: list[Bank]) -> None:
    dice = random.Random(SEED)
    print(f"seed {SEED}")
    running = [lives(tmp_path, banks, dice) for _ in range(LIVES_AT_ONCE)]
    kills = restarts = pauses = 0
    while kills < KILLS_MIN or len(what_was_told(tmp_path)) < TRANSACTIONS_MIN:
        place = kills % LIVES_AT_ONCE
        if kills % 9 == 4:
            pauses += pause(running[place])
        if kills % 25 == 12:
            server = dice.choice([bank.server for bank in banks if bank.server is not None])
            server.kill()
            server.start()
            restarts += 1
        kills += ended(tmp_path, running[place]) == -signal.SIGKILL
        running[place] = lives(tmp_path, banks, dice)
    for process in running:
        process.kill()
        process.join()
    assert ended(tmp_path, start(tmp_path, banks, is_recovering=True)) == 0

    found = audit(banks, what_was_told(tmp_path))
    print(f"{kills} kills, {restarts} servers killed, {pauses} pauses, {found}")
    assert found[COMMITTED] > TRANSACTIONS_MIN // 4
    assert restarts
    assert pauses
