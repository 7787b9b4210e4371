"""`finality aggregate` and `finality subject`: states, events, and persons who are forgotten."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import finality
from finality.cli.command_line import run_command_line
from tests.core.accounts import Account, Deposited
from tests.core.people import Customer, Joined
from tests.integration.kit import url_of
from tests.tidy.rules import ROOT

pytestmark = pytest.mark.slow

ACCOUNT = f"{ROOT}/tests/core/accounts.py:Account"
CUSTOMER = f"{ROOT}/tests/core/people.py:Customer"
PAGES = f"{ROOT}/tests/acceptance/pages.py"  # There is no aggregate in it.
KEY = "3q2+7wABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhs="

Type = Callable[..., str]


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a store with accounts and a customer in it."""
    monkeypatch.setenv("FINALITY_SECRET_KEY", KEY)
    home = url_of(tmp_path)
    with finality.open(home) as node:
        account = node.load(Account, "acc-1")
        for amount in range(1, 7):
            account = node.append(account, Deposited(amount))
        node.decide(Account, "acc-2", lambda account: Deposited(7))
        node.archive(Account, "acc-2", because="closed", by="ada")
        node.decide(Customer, "c7", lambda customer: Joined(finality.Personal("Ada", of="c7")))
    return home


@pytest.fixture
def typed(url: str, capsys: pytest.CaptureFixture[str]) -> Type:
    """Return what runs a command on the store, and returns what it prints."""

    def typed(*arguments: str) -> str:
        run_command_line([*arguments, "--store", url])
        return "".join(capsys.readouterr())

    return typed


def test_aggregates_are_listed_shown_and_looked_back_at(typed: Type) -> None:
    listed = json.loads(typed("aggregate", "list", ACCOUNT, "--archived", "--json"))
    shown = typed("aggregate", "show", ACCOUNT, "acc-1")
    then = json.loads(typed("aggregate", "show", ACCOUNT, "acc-1", "--at", "3", "--json"))
    history = [
        json.loads(line) for line in typed("aggregate", "history", ACCOUNT, "acc-2", "--json").splitlines()
    ]
    first = typed("aggregate", "history", ACCOUNT, "acc-1", "--at", "1")
    table = typed("aggregate", "list", ACCOUNT)

    assert [(each["id"], each["version"], each["is_archived"]) for each in listed] == [
        ("acc-1", 6, False), ("acc-2", 2, True)
    ]  # fmt: skip
    assert shown == (
        "Account acc-1\n  status    open\n  version   6\n  snapshot  at version 5\n  balance   21\n"
    )
    assert then["state"] == {"balance": 6}
    assert [(each["type"], each["data"]) for each in history] == [
        ("Deposited", {"amount": 7}), ("archived", {"because": "closed"})
    ]  # fmt: skip
    assert first.startswith("1  ")
    assert first.endswith('Deposited  {"amount": 1}\n')
    assert "acc-2" not in table


WRONG = [
    (("show", ACCOUNT, "acc-11"), "no Account has the id 'acc-11' in .*; did you mean 'acc-1'?"),
    (("show", ACCOUNT, "acc-1", "--at", "9"), "Account acc-1 has no version 9: it is at version 6"),
    (("show", ACCOUNT, "acc-1", "--at", "noon"), "'noon' is neither a version nor a time: write 12, or"),
    (("list", ACCOUNT.replace("Account", "Acount")), "there is no 'Acount' in .*; did you mean 'Account'?"),
    (
        ("list", "Account"),
        "'Account' names no aggregate: write the file and the class, as in bank.py:Account",
    ),
    (("list", f"{PAGES}:ROOT"), r"ROOT in .*\.py is no aggregate: make it extend finality\.Aggregate\n$"),
    (("list", f"{PAGES}:Account"), r"\.py has no aggregate: extend finality\.Aggregate, and name it, as in"),
]


def test_what_is_wrong_is_told_with_what_to_write(typed: Type) -> None:
    for arguments, expected in WRONG:
        said = typed("aggregate", *arguments)

        assert re.search(expected, said), f"{arguments}: {said}"


def test_a_person_is_forgotten_and_their_data_is_masked_before_and_after(typed: Type) -> None:
    before = json.loads(typed("aggregate", "show", CUSTOMER, "c7", "--json"))
    unknown = typed("subject", "forget", "c8", "--because", "asked")
    forgotten = typed("subject", "forget", "c7", "--because", "asked", "--by", "ada")
    again = json.loads(typed("subject", "forget", "c7", "--because", "asked", "--json"))
    journal = [
        json.loads(line) for line in typed("journal", "tail", "--type", "Forgotten", "--json").splitlines()
    ]

    assert before["state"] == {"name": "***", "moves": 0}
    assert "nothing personal is kept of 'c8'" in unknown
    assert forgotten == "c7 is forgotten\n"
    assert again == {"subject": "c7", "status": "forgotten", "changed": False}
    assert [(each["by"], each["data"]) for each in journal] == [
        ("ada", {"subject": "c7", "more": {"because": "asked"}})
    ]
