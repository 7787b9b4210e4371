"""`finality compare withdraw`: every way runs, is measured, and comes out of its accidents whole."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from finality.cli.compare.comparison import compare
from finality.cli.compare.view import show
from finality.cli.compare.withdraw.story import WITHDRAW
from finality.cli.compare.withdraw.three_phase import ThreePhase
from finality.testing import PostgresServer
from tests.acceptance.command_line import SECONDS_MAX, Terminal, stop


def check_whole(way: dict[str, Any]) -> None:
    """See that no accident has cost anybody money, and that what was measured can be."""
    name, costs = way["way"], way["costs"]
    assert way["refusal"]["is_whole"], f"{name}: a refused payment has left something"
    assert way["refusal"]["because"] == "the card has expired"
    for drill in way["coordinator_dies"].values():
        before, after = drill["before"], drill["after"]
        assert sum(before.values()) == sum(after.values()), f"{name}: money was lost or made"
        assert after["paid"] - before["paid"] == (200_00 if drill["is_done"] else 100_00), f"{name}: {drill}"
        assert after["held"] == after["authorized"] == 0
        assert drill["reads"] > 0
    assert way["coordinator_dies"]["once_finished"]["is_done"], f"{name}: it was finished, and is undone"
    assert 0 < costs["p50_ms"] <= costs["p99_ms"]


@pytest.mark.slow
def test_all_ways_are_run_measured_and_survive(terminal: Terminal) -> None:
    said = terminal.type("compare", "withdraw", "--count", "5", "--json")

    assert said.status == 0, said.err
    assert said.json["left_out"] == {}
    ways = {way["way"]: way for way in said.json["ways"]}
    assert list(ways) == [way.name for way in WITHDRAW.ways]
    for way in ways.values():
        check_whole(way)
    costs = {name: way["costs"] for name, way in ways.items()}
    assert costs["local"]["durable_writes"] == 1
    assert costs["two-phase"]["calls_by_name"] == {"begin": 2, "execute": 2, "finish": 2, "prepare": 2}
    assert costs["two-phase"]["durable_writes"] >= 5, "two votes, the decision, two commits"
    assert costs["three-phase"]["calls"] > costs["tcc"]["calls"], "a third phase costs calls"
    assert costs["saga"]["witness_rows"] == 2
    assert costs["outbox"]["calls_by_name"] == {"call": 5, "commit": 3, "publish": 2, "scope": 3}
    assert costs["outbox"]["durable_writes"] >= 8, (
        "three commits, two events in the broker, taken and done with"
    )
    assert costs["outbox"]["witness_rows"] == 2, "the provider's inbox, and the bank's"
    assert 0 < costs["outbox"]["accepted_p50_ms"] < costs["outbox"]["p50_ms"]
    assert {name for name, cost in costs.items() if cost["accepted_p50_ms"] is not None} == {"outbox"}
    assert costs["event-sourcing"]["journal_events"] == 5, "requested, checked, deducted, paid, completed"
    assert costs["event-sourcing"]["durable_writes"] >= 3
    forward = {"saga", "outbox", "event-sourcing"}
    deaths = {name: way["coordinator_dies"]["at_worst"] for name, way in ways.items()}
    assert {name for name, death in deaths.items() if death["is_done"]} == forward
    assert {name for name, death in deaths.items() if death["apart_ms"]} == forward
    assert {name for name, death in deaths.items() if death["held_ms"]} == {"three-phase", "tcc"}
    silence = said.json["silence_seconds"] * 1e3
    assert deaths["two-phase"]["next_ms"] > silence, "its locks keep out the next one"
    assert deaths["outbox"]["next_ms"] > 100, "the account's events are in order, behind those of the dead"
    assert ways["local"]["sight"]["apart"] == 0
    assert all(ways[name]["sight"]["apart"] > 0 for name in forward)
    assert {path.name for path in terminal.folder.iterdir()} == {"trips.py"}, "it leaves nothing behind"


@pytest.mark.slow
@pytest.mark.xdist_group("postgres")
def test_on_a_server_it_works_alike_and_drops_its_databases(
    terminal: Terminal, finality_postgres: PostgresServer
) -> None:
    ways = ("--way", "two-phase", "--way", "outbox")
    options = (*ways, "--count", "2", "--json", "--postgres", finality_postgres.url)
    said = terminal.type("compare", "withdraw", *options)

    assert said.status == 0, said.err
    assert said.json["stores"] == "PostgreSQL"
    for way in said.json["ways"]:
        check_whole(way)
    two_phase, outbox = said.json["ways"]
    assert two_phase["costs"]["durable_writes"] >= 5
    assert two_phase["coordinator_dies"]["at_worst"]["apart_ms"] == 0
    assert outbox["coordinator_dies"]["at_worst"]["is_done"]
    left = "SELECT count(*) FROM pg_database WHERE datname LIKE 'finality_compare%'"
    assert finality_postgres.sql(left) == [["0"]]


@pytest.mark.slow
def test_terminated_it_leaves_nothing_behind_as_on_ctrl_c(terminal: Terminal) -> None:
    folder = terminal.folder / "temporary"
    folder.mkdir()
    comparing = terminal.start(
        "compare", "withdraw", "--way", "local", "--count", "1000000", TMPDIR=str(folder)
    )
    give_up = time.monotonic() + SECONDS_MAX
    while not [*folder.glob("*/local/home.db-wal")]:
        assert comparing.poll() is None, comparing.communicate()
        assert time.monotonic() < give_up, "it has not begun"
    said = stop(comparing, signal.SIGTERM)

    assert (said.status, said.out, said.err) == (143, "", "")
    assert [*folder.iterdir()] == []


def test_a_way_that_needs_more_is_left_out_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ThreePhase, "extra", ("http", "no_such_module"))

    story = replace(WITHDRAW, ways=(ThreePhase(),))
    compared = asyncio.run(compare(story, tmp_path, None, 1, lambda what: None))
    shown = StringIO()
    show(Console(width=100, file=shown), compared)

    assert compared.left_out == {"three-phase": "http"}
    assert "three-phase was left out: pip install 'finality[http]'" in shown.getvalue()
