"""The simulated disk: what was flushed is there after a power failure, and what was not may be gone."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import apsw
import pytest

from finality.testing.disk import SimulatedDisk

COMMITS = 20


def opened(path: Path, *, synchronous: str) -> apsw.Connection:
    """Open a database as the SQLite adapter does, or with less care."""
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    return connection


def lost_after_power_failure(path: Path, seed: int, *, synchronous: str) -> int:
    """Commit from two connections, let a write fail or not, let the power fail; return what is missing."""
    dice = random.Random(seed)
    with SimulatedDisk(seed) as disk:
        pair = [opened(path, synchronous=synchronous) for _ in range(2)]
        pair[0].execute("CREATE TABLE number (n INTEGER)")
        disk.fails_at = disk.operations + int(dice.random() * 60) if dice.random() < 0.5 else None
        acknowledged = 0
        with contextlib.suppress(apsw.IOError):  # The write failed as planned: no acknowledgement.
            for number in range(COMMITS):
                with pair[number % 2]:
                    pair[number % 2].execute("INSERT INTO number VALUES (?)", (number,))
                acknowledged += 1
        disk.fail_power()
        for connection in pair:
            with contextlib.suppress(apsw.IOError):  # It cannot tidy up without power.
                connection.close()
        disk.restore_power()
        found = count_of(path)
    return acknowledged - found


def count_of(path: Path) -> int:
    """Return how many numbers there are; none in a database that is broken."""
    connection = apsw.Connection(str(path))
    try:
        if connection.pragma("integrity_check") != "ok":
            return 0
        return len(connection.execute("SELECT n FROM number").fetchall())
    except apsw.Error:
        return 0
    finally:
        connection.close()


@pytest.mark.slow
def test_what_was_flushed_survives(tmp_path: Path) -> None:
    lost = [lost_after_power_failure(tmp_path / f"{s}.db", s, synchronous="FULL") for s in range(60)]

    assert max(lost) <= 0  # A commit that was not acknowledged may be there: nobody knows.


@pytest.mark.slow
def test_what_was_not_flushed_is_often_gone(tmp_path: Path) -> None:
    """The planted mistake: a database that does not flush loses what it has acknowledged."""
    lost = [lost_after_power_failure(tmp_path / f"{s}.db", s, synchronous="OFF") for s in range(60)]

    assert sum(number > 0 for number in lost) > 30


def test_afterwards_sqlite_has_its_own_files_again(tmp_path: Path) -> None:
    before = apsw.vfs_names()
    with SimulatedDisk():
        assert apsw.vfs_names() != before

    assert apsw.vfs_names() == before
