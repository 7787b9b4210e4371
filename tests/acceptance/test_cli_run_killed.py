"""`finality run` is killed, interrupted and terminated, and goes on where it was."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import sqlite3
import subprocess
import termios
import time

import pytest

from tests.acceptance.command_line import (
    SECONDS_MAX,
    Terminal,
    assert_no_traceback,
    executable,
    stop,
    wait_for_line,
)

pytestmark = pytest.mark.slow

KILLS_MAX = 4  # Each costs a lease of ten seconds at most before the next run has taken over.


def wait_until_begun(terminal: Terminal, process: subprocess.Popen[str], count: int) -> bool:
    """Wait until so many sagas have begun; say whether the process is still there."""
    give_up = time.monotonic() + SECONDS_MAX
    while time.monotonic() < give_up:
        if process.poll() is not None:
            return False
        if begun(terminal) >= count:
            return True
    raise AssertionError(f"{begun(terminal)} sagas began, and not {count}")


def begun(terminal: Terminal) -> int:
    try:
        [(count,)] = terminal.rows("SELECT count(*) FROM finality_stream")
    except sqlite3.Error:  # The store is being made.
        return 0
    return int(count)


def assert_each_once(terminal: Terminal, count: int) -> None:
    """See that every line's saga is there, and paid once if it was not too expensive."""
    expensive = count // 10

    assert begun(terminal) == count
    assert terminal.rows("SELECT count(*), count(DISTINCT trip) FROM paid") == [(count - expensive,) * 2]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_again_and_again_every_saga_happens_once(terminal: Terminal, seed: int) -> None:
    """Goal: every line takes effect exactly once. Method: kill -9 at random moments, run until done."""
    chance = random.Random(seed)
    terminal.write_trips(300)
    for _ in range(KILLS_MAX):
        process = terminal.start("run", "trips.py:BookTrip", "trips.jsonl", "--in-flight", "8")
        wait_until_begun(terminal, process, min(begun(terminal) + chance.randrange(5, 90), 300))
        stop(process, signal.SIGKILL)

    said = terminal.run("trips.jsonl", "--json")

    assert said.status == 3, said.err
    assert (said.json["completed"], said.json["compensated"], said.json["open"]) == (270, 30, 0), f"{seed=}"
    assert_each_once(terminal, 300)


@pytest.mark.parametrize(
    "number, status, name", [(signal.SIGINT, 130, "SIGINT"), (signal.SIGTERM, 143, "SIGTERM")]
)
def test_stopped_it_finishes_what_is_under_way_and_goes_on_later(
    terminal: Terminal, number: signal.Signals, status: int, name: str
) -> None:
    terminal.write_trips(200)
    process = terminal.start("run", "trips.py:BookTrip", "trips.jsonl", "--json", STEP_SECONDS="0.05")
    assert wait_until_begun(terminal, process, 20)

    said = stop(process, number)
    again = terminal.run("trips.jsonl", "--json")

    assert said.status == status, said.err
    assert said.json["stopped_by"] == name
    assert said.json["open"] > 0
    assert_no_traceback(said)
    assert again.json["completed"] == 180, again.err
    # It left in an orderly way, so the next did not wait for a lease.
    assert_each_once(terminal, 200)


def test_when_its_terminal_is_closed_it_finishes_what_is_under_way(terminal: Terminal) -> None:
    terminal.write_trips(200)
    near, far = os.openpty()

    def take_terminal() -> None:
        fcntl.ioctl(far, termios.TIOCSCTTY)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # Whoever runs the tests may be under `nohup`.

    process = subprocess.Popen(
        [executable(), "run", "trips.py:BookTrip", "trips.jsonl", "--json"],
        cwd=terminal.folder, env={**terminal.variables, "STEP_SECONDS": "0.05"}, text=True,
        stdin=far, stdout=subprocess.PIPE, stderr=far, start_new_session=True, preexec_fn=take_terminal,
    )  # fmt: skip
    os.close(far)
    assert wait_until_begun(terminal, process, 20)

    os.close(near)
    out, _ = process.communicate(timeout=SECONDS_MAX)
    told = json.loads(out)

    assert (process.returncode, told["stopped_by"]) == (129, "SIGHUP")
    assert told["open"] > 0
    open_now = "SELECT count(*) FROM finality_stream WHERE open = 1 AND driver IS NOT NULL"
    assert terminal.rows(open_now) == [(0,)], "it left in an orderly way"


def test_a_second_interrupt_quits_at_once(terminal: Terminal) -> None:
    terminal.write_trips(50)
    process = terminal.start("run", "trips.py:BookTrip", "trips.jsonl", STEP_SECONDS="5")
    assert wait_until_begun(terminal, process, 20)
    process.send_signal(signal.SIGINT)
    told = wait_for_line(process, "stopping")

    said = stop(process, signal.SIGINT)

    assert "Ctrl-C again quits at once" in told
    assert (said.status, said.out) == (130, "")  # With no summary: it did not wait for the steps.
