"""`finality compare tour`: conducted or not, a tour is booked by all parties or by none."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from finality.testing import NatsCluster
from tests.acceptance.command_line import SECONDS_MAX, Terminal, stop


def check(way: dict[str, Any]) -> None:
    """See that its tours have ended as they must; the command itself has compared the databases."""
    good, refused, late, hanging = (way[case] for case in ("good", "refused", "late", "hanging"))
    assert (good["status"], good["is_booked"]) == ("completed", True)
    assert (refused["status"], refused["is_booked"]) == ("compensated", False)
    assert (late["status"], late["is_booked"]) == ("completed", True)
    assert late["ms"] > 500, "it waits for the approval"
    assert hanging["ms"] > 1_000, "it waits for the car"
    assert 0 < way["p50_ms"] <= way["p99_ms"]


@pytest.mark.slow
def test_a_tour_is_booked_and_undone_in_both_ways(terminal: Terminal) -> None:
    said = terminal.type("compare", "tour", "--count", "2", "--json")

    assert said.status == 0, said.err
    orchestration, choreography = said.json["ways"]
    check(orchestration)
    check(choreography)
    assert orchestration["carried"] >= 8, "a transaction at each of four parties has two calls or more"
    assert choreography["carried"] == 6, "request, approval, three bookings and the payment"
    assert "the signal 'approved'" in orchestration["late"]["operator_sees"]
    assert "car to run" in orchestration["hanging"]["operator_sees"]
    assert "TourApproved, which never came" in choreography["late"]["operator_sees"]
    assert "cars/car has not answered TourRequested" in choreography["hanging"]["operator_sees"]
    told = [moment["what"] for moment in choreography["refused"]["timeline"]]
    assert {"seen SeatRefused", "seen RoomFree", "seen CarBack"} <= set(told)
    assert told[-1] == "undone"
    assert {path.name for path in terminal.folder.iterdir()} == {"trips.py"}, "it leaves nothing behind"


@pytest.mark.slow
@pytest.mark.xdist_group("nats")
def test_over_a_broker_on_a_server_it_is_the_same(terminal: Terminal, finality_nats: NatsCluster) -> None:
    options = ("--way", "choreography", "--count", "2", "--json", "--broker", finality_nats.url)
    said = terminal.type("compare", "tour", *options)

    assert said.status == 0, said.err
    [choreography] = said.json["ways"]
    check(choreography)


def test_a_broker_that_is_none_is_said_before_anything_starts(terminal: Terminal) -> None:
    said = terminal.type("compare", "tour", "--broker", "carrier-pigeon")

    assert said.status == 1
    assert "names no broker" in said.err


@pytest.mark.slow
def test_ctrl_c_leaves_no_process_and_no_file(terminal: Terminal) -> None:
    folder = terminal.folder / "temporary"
    folder.mkdir()
    options = ("--way", "choreography", "--count", "1000000")
    comparing = terminal.start("compare", "tour", *options, TMPDIR=str(folder))
    give_up = time.monotonic() + SECONDS_MAX
    while not [*folder.glob("*/events.db-wal")]:
        assert comparing.poll() is None, comparing.communicate()
        assert time.monotonic() < give_up, "it has not begun"
    said = stop(comparing, signal.SIGINT)

    assert (said.status, said.out, said.err) == (130, "", "")
    assert [*folder.iterdir()] == []
    running = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [command for command in running if str(folder).encode() in command]
