"""`finality run`: the lines of a file as sagas, good and bad, once and again."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path

import click
import pytest

from finality.cli import output
from finality.cli.importing import imported_file
from tests.acceptance.command_line import Terminal, assert_no_traceback

pytestmark = pytest.mark.slow


def test_every_line_is_a_saga_and_the_summary_counts_them(terminal: Terminal) -> None:
    terminal.write_trips(30)

    said = terminal.run()

    assert said.status == 3, said.err
    assert said.out.splitlines()[0].startswith("trips.jsonl: 30 lines in ")
    assert said.out.split()[-6:] == ["27", "compensated", "3", "too", "expensive", "(3)"]
    assert "a step prints" in said.err
    assert terminal.rows("SELECT count(*), count(DISTINCT trip) FROM paid") == [(27, 27)]


def test_the_summary_for_programs_is_one_object(terminal: Terminal) -> None:
    terminal.write_trips(10)

    said = terminal.run("trips.jsonl", "--json")

    assert said.out.count("\n") == 1
    assert {key: said.json[key] for key in ("lines", "completed", "compensated", "stuck", "open")} == {
        "lines": 10,
        "completed": 9,
        "compensated": 1,
        "stuck": 0,
        "open": 0,
    }
    assert said.json["exit_status"] == said.status == 3
    assert said.json["reasons"] == {"too expensive": 1}


def test_a_run_in_which_all_complete_exits_with_0(terminal: Terminal) -> None:
    terminal.write_trips(5)

    said = terminal.run()

    assert (said.status, said.out.split()[-2:]) == (0, ["completed", "5"])


def test_the_same_file_again_is_the_same_sagas_and_an_appended_line_a_new_one(terminal: Terminal) -> None:
    terminal.write_trips(5)
    terminal.run()

    again = terminal.run("trips.jsonl", "--json").json
    terminal.write_trips(8)
    appended = terminal.run("trips.jsonl", "--json").json

    assert (again["completed"], again["ended_before"]) == (5, 5)
    assert (appended["completed"], appended["ended_before"]) == (8, 5)
    assert terminal.rows("SELECT count(*), count(DISTINCT trip) FROM paid") == [(8, 8)]


def test_a_line_that_has_changed_is_named_and_nothing_is_started(terminal: Terminal) -> None:
    terminal.write_trips(4)
    terminal.run()
    terminal.write_trips(6)
    text = (terminal.folder / "trips.jsonl").read_text().replace('"c2"', '"other"')
    terminal.write("trips.jsonl", text)

    said = terminal.run()

    assert said.status == 1
    assert "trips.jsonl, line 3: its saga BookTrip:trips.jsonl:3 has begun with another input" in said.err
    assert "nothing was started" in said.err
    assert terminal.rows("SELECT count(*) FROM paid") == [(4,)]
    assert_no_traceback(said)


def test_the_id_is_a_field_if_one_is_named(terminal: Terminal) -> None:
    terminal.write("orders.csv", "order,card,price\nA-1,visa,10\nA-2,visa,20\n")

    said = terminal.run("orders.csv", "--id-field", "order", "--json")
    terminal.write("orders.csv", "card,price,order\nvisa,20,A-2\nvisa,30,A-3\n")
    moved = terminal.run("orders.csv", "--id-field", "order", "--json")

    assert said.json["completed"] == 2, said.err
    assert (moved.json["completed"], moved.json["ended_before"]) == (2, 1)
    assert terminal.rows("SELECT trip, price FROM paid ORDER BY trip") == [
        ("A-1", 10),
        ("A-2", 20),
        ("A-3", 30),
    ]


def test_a_table_has_cells_with_commas_line_breaks_and_none(terminal: Terminal) -> None:
    text = "\N{BYTE ORDER MARK}card,price,note\r\n" + '"a, b",1,\r\n"c\nd",2,"é"\r\n'
    terminal.write("trips.csv", text)

    said = terminal.run("trips.csv", "--json")

    assert said.json["completed"] == 2, said.err
    shown = terminal.type("transaction", "show", "BookTrip:trips.csv:3", "--json").json
    assert shown["events"][0]["data"]["input"] == {"card": "c\nd", "price": 2, "note": "é"}


BAD_LINES = (
    ('{"card": "c"', "no JSON object"),
    ("[1, 2]", "no JSON object: expected object, got array"),
    ('{"card": "c", "price": "x"}', "price: expected int, got str"),
    ('{"card": "c", "prize": 1}', "no field 'prize'; did you mean 'price'?"),
    ('{"price": 1}', "'card' is missing"),
    ('{"card": "' + "c" * 2_000_000 + '", "price": 1}', "longer than 1,048,576 bytes"),
)


def test_bad_lines_are_named_and_nothing_is_started(terminal: Terminal) -> None:
    good = '{"card": "c", "price": 1}'
    terminal.write("bad.jsonl", "\n".join([good, *(line for line, _ in BAD_LINES), good]))

    said = terminal.run("bad.jsonl")

    told = said.err.splitlines()
    for number, (told_line, (_, because)) in enumerate(zip(told, BAD_LINES, strict=False), start=2):
        assert told_line.startswith(f"bad.jsonl, line {number}: ")
        assert because in told_line
    assert told[-1].startswith("error: 6 bad lines of 8: nothing was started; ")
    assert said.status == 1
    assert "shop.db" not in terminal.files()


def test_only_the_first_bad_lines_are_told(terminal: Terminal) -> None:
    terminal.write("bad.jsonl", "nonsense\n" * 50)

    said = terminal.run("bad.jsonl")

    assert len(said.err.splitlines()) == 22
    assert "… and 30 more" in said.err


def test_bad_lines_can_be_left_out(terminal: Terminal) -> None:
    terminal.write("bad.csv", "card,price\nc,1\nc,x\nc,1,2\nc,4\n")

    said = terminal.run("bad.csv", "--skip-bad", "--json")

    assert (said.status, said.json["completed"], said.json["skipped"]) == (0, 2, 2)


def test_two_lines_with_one_id_are_an_error_even_if_bad_lines_are_left_out(terminal: Terminal) -> None:
    terminal.write("orders.csv", "order,card,price\nA-1,visa,10\nA-1,visa,20\n")

    refused = terminal.run("orders.csv", "--id-field", "order")
    skipped = terminal.run("orders.csv", "--id-field", "order", "--skip-bad", "--json")

    assert "line 3: its id 'A-1' stands on line 2 already" in refused.err
    assert (skipped.json["completed"], skipped.json["skipped"]) == (1, 1)
    assert terminal.rows("SELECT price FROM paid") == [(10,)]


# fmt: off
USER_ERRORS = {
    "no such file of sagas":    ("nope.py:BookTrip trips.jsonl", "cannot read nope.py: no such file"),
    "no file of sagas":         ("trips.jsonl trips.jsonl",      "names no saga"),
    "no such class":            ("trips.py:BookTrp trips.jsonl", "did you mean 'BookTrip'?"),
    "a class that is no saga":  ("trips.py:Plain trips.jsonl",   "does not extend finality.Saga"),
    "which of two sagas":       ("trips.py trips.jsonl",         "its sagas are BookTrip, Payout"),
    "a syntax error":           ("broken.py:X trips.jsonl",      "imported: line 2: SyntaxError"),
    "an error at import":       ("raises.py:X trips.jsonl",      "line 3: ZeroDivisionError"),
    "an exit at import":        ("exits.py:X trips.jsonl",       "SystemExit"),
    "no such input":            ("trips.py:BookTrip nope.jsonl", "there is no file nope.jsonl"),
    "a folder":                 ("trips.py:BookTrip folder",     "folder is a folder"),
    "neither lines nor table":  ("trips.py:BookTrip trips.py",   "neither JSON lines nor a table"),
    "a wrong column":           ("trips.py:BookTrip wrong.csv",  "no field 'prize'; did you mean 'price'?"),
    "a missing column":         ("trips.py:BookTrip less.csv",   "'card' is missing"),
    "a column twice":           ("trips.py:BookTrip twice.csv",  "a column appears twice"),
    "no UTF-8":                 ("trips.py:BookTrip latin.csv",  "line 2: it is no UTF-8"),
    "no UTF-8 in an object":    ("trips.py:BookTrip latin.jsonl", "line 1: it is no UTF-8: byte 14 is 0xe9"),
    "no folder for the store":  ("trips.py:BookTrip trips.jsonl --store sqlite:///no/shop.db", "cannot open"),
    "a path for a store":       ("trips.py:BookTrip trips.jsonl --store shop.db", "names no store"),
    "a store that is no store": ("trips.py:BookTrip trips.jsonl --store sqlite:///trips.py", "cannot open"),
    "half a store":             ("trips.py:BookTrip trips.jsonl --at bank", "is not NAME=URL"),
    "a store without a name":   ("trips.py:BookTrip trips.jsonl --at nats://a:pass@b", "nats://a:***@b' is"),
    "an id that is a secret":   ("trips.py:Payout trips.jsonl --id-field pin", "'pin' is a secret"),
}
# fmt: on


@pytest.mark.parametrize("name", USER_ERRORS)
def test_an_error_of_the_user_is_told_in_a_sentence(terminal: Terminal, name: str) -> None:
    terminal.write_trips(1)
    terminal.write("broken.py", "x = 1\nclass (:\n")
    terminal.write("raises.py", "import finality\n\n1 / 0\n")
    terminal.write("exits.py", "raise SystemExit(0)\n")
    terminal.write("wrong.csv", "card,prize\nc,1\n")
    terminal.write("less.csv", "price\n1\n")
    terminal.write("twice.csv", "card,price,card\nc,1,c\n")
    terminal.write("latin.csv", b"card,price\ncaf\xe9,1\n")
    terminal.write("latin.jsonl", b'{"card": "caf\xe9"}\n')
    (terminal.folder / "folder").mkdir()
    arguments, expected = USER_ERRORS[name]

    said = terminal.type("run", *arguments.split())

    assert said.status in (1, 2)
    assert expected in said.err
    assert said.out == ""
    assert "shop.db" not in terminal.files()
    assert_no_traceback(said)


def test_an_empty_file_is_no_error(terminal: Terminal) -> None:
    terminal.write("empty.jsonl", "")
    terminal.write("empty.csv", "")

    statuses = [terminal.run(name).status for name in ("empty.jsonl", "empty.csv")]

    assert statuses == [0, 0]


def test_a_store_of_a_newer_schema_is_left_alone(terminal: Terminal) -> None:
    terminal.write_trips(1)
    terminal.run()
    connection = sqlite3.connect(terminal.folder / "shop.db")
    connection.execute("UPDATE finality_schema SET version = 99 WHERE part = 'home'")
    connection.commit()
    connection.close()

    said = [terminal.run(), terminal.type("transaction", "list"), terminal.type("doctor")]

    assert [each.status for each in said] == [1, 1, 1]
    assert all("version 99" in each.err + each.out for each in said)
    assert terminal.rows("SELECT version FROM finality_schema WHERE part = 'home'") == [(99,)]


def test_another_store_is_named_by_at(terminal: Terminal) -> None:
    terminal.write(
        "bank.py",
        "from dataclasses import dataclass\n"
        "import finality\n"
        "@dataclass(frozen=True)\n"
        "class Deposit(finality.Saga):\n"
        "    amount: int\n"
        "    @finality.step(at='bank')\n"
        "    def booked(self, tx: finality.SyncTx) -> int:\n"
        "        tx.execute('CREATE TABLE IF NOT EXISTS booked (amount)')\n"
        "        tx.execute('INSERT INTO booked VALUES (?)', self.amount)\n"
        "        return self.amount\n",
    )
    terminal.write("deposits.jsonl", '{"amount": 7}\n')

    without = terminal.type("run", "bank.py", "deposits.jsonl")
    said = terminal.type("run", "bank.py", "deposits.jsonl", "--at", "bank=sqlite:///bank.db")

    assert (without.status, said.status) == (1, 0), said.err
    assert "or give `finality run` --at bank=sqlite:///" in without.err
    connection = sqlite3.connect(terminal.folder / "bank.db")
    assert connection.execute("SELECT amount FROM booked").fetchall() == [(7,)]
    connection.close()


def test_a_saga_that_waits_for_a_signal_is_left_open_and_told(terminal: Terminal) -> None:
    terminal.variables["FINALITY_SECRET_KEY"] = "A" * 43 + "="
    terminal.write("payouts.jsonl", json.dumps({"name": "ann", "pin": "98765"}) + "\n")

    first = terminal.run("payouts.jsonl", saga="Payout")
    sent = terminal.type("transaction", "signal", "Payout:payouts.jsonl:1", "approval", "true")
    second = terminal.run("payouts.jsonl", saga="Payout")

    assert first.status == 5
    assert "line 1, Payout:payouts.jsonl:1: paid: the signal 'approval'" in first.out
    assert sent.status == 0, sent.err
    assert second.status == 0, second.out + second.err


def test_a_file_that_opens_a_node_while_it_is_imported_is_told_where_that_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the saga and the program that starts it were pasted into one file."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    file = tmp_path / "pasted.py"
    file.write_text(
        "import finality\n"
        "with finality.open('memory://') as node:\n"
        "    node.run(lambda tx: tx.execute('SELECT 1 FROM missing'))\n"
    )
    with pytest.raises(
        click.ClickException, match=r"line 3: .* no such table: missing; importing runs it: put"
    ):
        imported_file(file)
    file.write_text("import nothing_of_that_name\n")
    with pytest.raises(click.ClickException, match="'nothing_of_that_name'; put it right and run again"):
        imported_file(file)


def test_a_slow_rate_is_not_none() -> None:
    assert [output.rate(each) for each in (1234.5, 7.4, 0.18)] == ["1,234", "7", "0.2"]
