"""`finality outbox`: looking at what is published, sending it again, and helping what is parked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import finality
from finality.cli.command_line import run_command_line
from tests.integration.kit import url_of

WHY = ("--because", "it was restored", "--by", "ada")
LARGE = "x" * (1 << 20)

Ask = Callable[..., Any]


@dataclass(frozen=True)
class Placed:
    """An order was placed."""

    order: str


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A store from which three events were relayed, one was rejected and one waits behind it."""
    url = url_of(tmp_path)
    with finality.open(url, broker="memory://cli") as node:
        for order, key in (("a", "a"), ("b", "b"), (LARGE, "k"), ("behind", "k"), ("c", "c")):
            with node.transaction() as tx:
                tx.publish("orders", Placed(order), key=key)
        outbox = node.outbox()
        while sum(share.waiting for share in outbox.shares()):
            assert node.health().nodes == 1
    return url


@pytest.fixture
def ask(url: str, capsys: pytest.CaptureFixture[str]) -> Ask:
    """What a command of the outbox answers to a program."""

    def asked(*arguments: str) -> Any:
        assert run_command_line(["outbox", *arguments, "--store", url, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return asked


def say(url: str, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Return the exit status of a command, and what it says to a person."""
    status = run_command_line([*arguments, "--store", url])
    said = capsys.readouterr()
    return status, said.out + said.err


def test_a_program_sees_everything_and_acts_on_it(
    url: str, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    events = ask("list")
    assert [event["key"] for event in events] == ["c", "k", "k", "b", "a"]
    assert ask("list", "--topic", "nothing") == []
    assert ask("show", events[0]["id"])["data"] == '{"order":"c"}'

    parked = ask("parked")
    assert [(each["key"], bool(each["because"])) for each in parked] == [("k", True), ("k", False)]
    assert [share["waiting"] for share in ask("shares")] == [0, 0, 0, 0]

    assert ask("resend", "--since", "1", "--topic", "nothing", "--topic", "never", *WHY)["events"] == 0
    assert ask("resend", "--since", str(events[-2]["position"]), *WHY)["events"] == 4
    assert sum(share["waiting"] for share in ask("shares")) == 4
    place = parked[0]["place"]
    assert ask("retry", str(place), *WHY) == {"place": place}
    assert ask("discard", str(place), *WHY) == {"place": place}
    status, said = say(url, capsys, "outbox", "discard", str(place), *WHY, "--json")
    assert (status, f"no event is parked at {place}" in said) == (1, True)

    assert run_command_line(["journal", "tail", "--stream", "outbox", "--store", url, "--json"]) == 0
    words = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["type"] for each in words] == ["ResendAsked", "RetryAsked", "Discarded"]
    assert words[2]["data"] == {"event": parked[0]["id"], "because": "it was restored"}
    assert words[2]["by"] == "ada"


def test_a_person_reads_tables_and_sentences(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "POSITION" in say(url, capsys, "outbox", "list")[1]
    assert "nobody" in say(url, capsys, "outbox", "shares")[1]
    assert "waits behind one of its key" in say(url, capsys, "outbox", "parked")[1]
    assert '{"order":"a"}' in say(url, capsys, "outbox", "show", "1")[1]
    again = say(url, capsys, "outbox", "resend", "--since", "2020-01-01", *WHY)
    assert "5 events are relayed again" in again[1]

    status, said = say(url, capsys, "outbox", "retry", "99", *WHY)
    assert status == 1
    assert "no event is parked at 99" in said
    status, said = say(url, capsys, "outbox", "resend", "--since", "lately", *WHY)
    assert status == 2
    assert "no time and no position" in said


def test_the_doctor_sees_what_is_parked_and_that_nobody_relays(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run_command_line(["outbox", "resend", "--since", "1", *WHY, "--store", url])
    capsys.readouterr()
    status, said = say(url, capsys, "doctor", "--broker", "memory://cli")

    assert status == 1
    assert "5 events wait to be relayed" in said
    assert "no node relays them" in said
    assert "finality outbox retry" in said
    assert "broker: durable" in said
