"""Whatever fails, and whenever: after recovery each branch has done what was decided, whole or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest

import finality
from finality.adapters.sqlite.participant import SqliteParticipant
from finality.adapters.system.environment import SystemEnvironment
from finality.core.errors import FinalityError
from finality.core.two_phase import Decision
from finality.testing.disk import SimulatedDisk
from tests.conformance.lives import Lives, acknowledge, serve
from tests.integration.sqlite_branches import id_of, run

ACCOUNTS = 4
MONEY = 100
TRANSFERS = 6  # Each third commits in one phase, aborts, and commits in two.


class Inline(SystemEnvironment):
    """Without threads, so that each write has its number."""

    is_threaded = False


class Dying(SystemEnvironment):
    """Dies as kill -9 does when it reaches a crash point for the n-th time."""

    def __init__(self, dies_at: int) -> None:
        super().__init__()
        self.left = dies_at

    def reach(self, point: str) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def make(path: Path) -> None:
    """Make accounts, and a log that a trigger fills."""
    connection = apsw.Connection(str(path))
    connection.execute(
        "CREATE TABLE account (id INTEGER PRIMARY KEY, n INTEGER);"
        "CREATE TABLE log (id INTEGER PRIMARY KEY AUTOINCREMENT, t INTEGER);"
        "CREATE TRIGGER t AFTER UPDATE ON account BEGIN INSERT INTO log (t) VALUES (new.n - old.n); END"
    )
    connection.executemany("INSERT INTO account VALUES (?, ?)", [(n, MONEY) for n in range(ACCOUNTS)])
    connection.close()


def decision_of(number: int) -> Decision | None:
    """Return what is decided for a transfer; None for one that commits alone."""
    return (None, Decision.ABORT, Decision.COMMIT)[number % 3]


async def transfer(participant: SqliteParticipant, number: int, note: Any) -> None:
    """Move what no other transfer moves; note what was decided before it is done."""
    branch = await participant.begin(id_of(f"t{number}"))
    amount = 1 << number
    await branch.execute("UPDATE account SET n = n - $2 WHERE id = $1", number % ACCOUNTS, amount)
    await branch.execute("UPDATE account SET n = n + $2 WHERE id = $1", (number + 1) % ACCOUNTS, amount)
    decision = decision_of(number)
    if decision is None:
        await branch.commit()
    else:
        await branch.prepare()
        note(f"decided {number}")
        await participant.finish(branch.id, decision)
    note(f"done {number}")


async def recover(participant: SqliteParticipant, notes: list[str]) -> None:
    """Finish what is in doubt, as decided; what is not decided is aborted."""
    for found in await participant.in_doubt():
        number = int(found.branch.transaction.removeprefix("t"))
        decision = decision_of(number) if f"decided {number}" in notes else Decision.ABORT
        assert decision is not None, "what commits alone is never in doubt"
        assert await participant.finish(found.branch, decision) is decision


async def check(participant: SqliteParticipant, notes: list[str]) -> None:
    """See that each transfer is there exactly if it should be, once."""
    assert list(await participant.in_doubt()) == []
    balances = [MONEY] * ACCOUNTS
    log = 0
    for number in range(TRANSFERS):
        decision = decision_of(number)
        if decision is None:
            has_moved = await participant.settle(id_of(f"t{number}")) is Decision.COMMIT
            assert has_moved or f"done {number}" not in notes
        else:
            has_moved = decision is Decision.COMMIT and f"decided {number}" in notes
        if has_moved:
            balances[number % ACCOUNTS] -= 1 << number
            balances[(number + 1) % ACCOUNTS] += 1 << number
            log += 2
    branch = await participant.begin(id_of("check"))
    rows = await branch.execute("SELECT n FROM account ORDER BY id")

    assert [n for (n,) in rows] == balances, notes
    assert await branch.execute("SELECT count(*) FROM log") == [(log,)]

    await branch.abort()
    connection = apsw.Connection(str(participant.path))

    assert connection.pragma("integrity_check") == "ok"

    connection.close()


# ── The disk ────────────────────────────────────────────────────────────────────────────────


async def fail_disk(path: Path, disk: SimulatedDisk, fails_at: int, *, loses_power: bool) -> bool:
    """Let the n-th write or flush fail; recover and check. Return whether it came to that."""
    notes: list[str] = []
    participant = finality.sqlite(path, name="bank")
    disk.fails_at = disk.operations + fails_at
    try:
        await participant.open(Inline())
        for number in range(TRANSFERS):
            await transfer(participant, number, notes.append)
    except (FinalityError, apsw.Error):
        pass  # It was told; what became of it is checked.
    has_failed, disk.fails_at = disk.fails_at is None, None
    if loses_power:
        disk.fail_power()
        with contextlib.suppress(apsw.Error, FinalityError):
            await participant.close()
        disk.restore_power()
        participant = finality.sqlite(path, name="bank")
        await participant.open(Inline())
    await recover(participant, notes)
    await check(participant, notes)
    await participant.close()
    return has_failed


@pytest.mark.slow
@pytest.mark.parametrize("loses_power", [False, True], ids=["write-fails", "power-fails"])
def test_every_write_and_flush_may_fail(tmp_path: Path, loses_power: bool) -> None:
    """Fail the first, then the second, and so on, until a run reaches the end untouched."""
    fails_at = 0
    has_failed = True
    while has_failed:
        fails_at += 1
        path = tmp_path / f"{fails_at}.db"
        with SimulatedDisk(fails_at) as disk:
            make(path)
            has_failed = run(fail_disk(path, disk, fails_at, loses_power=loses_power))

    assert fails_at > 50


# ── The process ─────────────────────────────────────────────────────────────────────────────


async def live(path: str, dies_at: int, notes: list[str]) -> None:
    """Recover, then transfer, in a process that dies at a crash point."""
    participant = finality.sqlite(path, name="bank")
    await participant.open(Dying(dies_at))
    await recover(participant, notes)
    for number in range(TRANSFERS):
        if f"begun {number}" not in notes:
            acknowledge(f"begun {number}")
            await transfer(participant, number, acknowledge)
    await participant.close()


def look(path: Path, notes: list[str]) -> None:
    """Recover and check in this process."""

    async def whole() -> None:
        participant = finality.sqlite(path, name="bank")
        await participant.open(SystemEnvironment())
        await recover(participant, notes)
        await check(participant, notes)
        await participant.close()

    run(whole())


@pytest.mark.slow
def test_kill_9_at_every_commit_and_again_while_another_process_recovers(tmp_path: Path) -> None:
    with Lives("tests.integration.test_sqlite_participant_crash") as lives:
        dies_at, code = 0, -signal.SIGKILL
        while code == -signal.SIGKILL:
            dies_at += 1
            path = tmp_path / f"{dies_at}.db"
            make(path)
            code, notes = lives.live(str(path), dies_at, "[]")
            for again in (1, 2):  # Its recovery dies before a commit, and after it.
                if code == -signal.SIGKILL:
                    notes += lives.live(str(path), again, json.dumps(notes))[1]
            look(path, notes)

    assert dies_at > 2 * TRANSFERS


def be_born(path: str, dies_at: str, notes: str) -> None:
    """Live, as a child."""
    asyncio.run(live(path, int(dies_at), json.loads(notes)))


if __name__ == "__main__":
    serve(sys.stdin, be_born)
