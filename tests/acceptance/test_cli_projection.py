"""`finality projection`: how far projections are, and building one anew while its node runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import finality
from finality.cli.command_line import run_command_line
from tests.acceptance.command_line import Terminal, wait_for_line
from tests.core.accounts import Account, Deposited
from tests.integration.kit import url_of

pytestmark = pytest.mark.slow


@finality.project(into="log", create="CREATE TABLE {log} (amount BIGINT)")
def log(tx: finality.SyncTx, moved: Deposited) -> None:
    if moved.amount == 13:
        raise ValueError("unlucky")
    tx.execute("INSERT INTO {log} VALUES (?)", moved.amount)


def test_a_projection_is_listed_and_rebuilt_and_the_doctor_sees_one_that_is_stuck(
    tmp_path: Path, terminal: Terminal
) -> None:
    url = url_of(tmp_path)
    with finality.open(url, projections=[log]) as node:
        node.decide(Account, "a", lambda account: Deposited(1))
        node.wait_for(node.token(), "log")
    rebuilding = terminal.start("projection", "rebuild", "log", "--store", url)
    wait_for_line(rebuilding, "no node keeps log up: it is built when one with projections=[…] opens")
    with finality.open(url, projections=[log]) as node:
        out, _ = rebuilding.communicate(timeout=60)
        [state] = json.loads(terminal.type("projection", "list", "--store", url, "--json").out)

        assert out == "generation 2 of log serves\n"
        assert (state["name"], state["generation"], state["events_behind"]) == ("log", 2, 0)

        node.decide(Account, "a", lambda account: Deposited(13))
        while not node.projections()[0].because:
            assert node.health().nodes == 1
        listed = terminal.type("projection", "list", "--store", url).out
        doctor = terminal.type("doctor", "--store", url)

    assert "stuck" in listed
    assert "event 2 of Account/a, a Deposited: ValueError: unlucky" in listed
    assert "projection log" in doctor.out
    assert "unlucky" in doctor.out


def test_a_projection_is_paused_and_resumed_and_everybody_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = url_of(tmp_path)

    def told(*arguments: str) -> str:
        run_command_line([*arguments, "--store", url])
        return "".join(capsys.readouterr())

    with finality.open(url, projections=[log]) as node:
        node.decide(Account, "a", lambda account: Deposited(1))
        node.wait_for(node.token(), "log")

        paused = told("projection", "pause", "log", "--because", "audit", "--by", "ada")
        again = told("projection", "pause", "log", "--because", "audit", "--json")
        listed, doctor = told("projection", "list"), told("doctor")
        resumed = told("projection", "resume", "log", "--because", "done")
        unknown = told("projection", "pause", "lag", "--because", "audit")

    assert paused == "projection log is paused\n"
    assert json.loads(again) == {"projection": "log", "status": "paused", "changed": False}
    assert " paused " in listed
    assert "audit" in listed
    assert "`finality projection resume log`" in doctor
    assert resumed == "projection log is resumed\n"
    assert "there is no projection 'lag'" in unknown


def test_a_projection_in_another_store_is_looked_after_by_the_stores_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, reports = url_of(tmp_path), url_of(tmp_path, "reports")
    there = finality.project(into="log", create="CREATE TABLE {log} (amount BIGINT)", at="reports")

    def told(*arguments: str, at: str = reports) -> str:
        run_command_line([*arguments, "--store", url, "--at", f"reports={at}"])
        return "".join(capsys.readouterr())

    with finality.open(url, projections=[there(log.function)], stores={"reports": reports}) as node:
        node.decide(Account, "a", lambda account: Deposited(1))
        node.wait_for(node.token(), "log")
        run_command_line(["projection", "list", "--store", url])
        hint = capsys.readouterr()
        [state] = json.loads(told("projection", "list", "--json"))
        paused = told("projection", "pause", "log", "--because", "audit")
        doctor = told("doctor")
        resumed = told("projection", "resume", "log", "--because", "done")
        rebuilt = told("projection", "rebuild", "log")
    mistyped = told("projection", "list", at=url_of(tmp_path, "rports"))

    assert hint.out == ""
    assert hint.err == "a node keeps log up in another store: name it by --at NAME=URL\n"
    assert (state["name"], state["store"], state["events_behind"]) == ("log", "reports", 0)
    assert (paused, resumed) == ("projection log is paused\n", "projection log is resumed\n")
    assert "projection log" in doctor
    assert "generation 2 of log serves\n" in rebuilt
    assert "there is no store at" in mistyped
    assert not (tmp_path / "rports.db").exists()
