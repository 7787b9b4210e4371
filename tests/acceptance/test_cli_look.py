"""Looking into a store: lists, timelines, explanations, the journal, the nodes, the doctor."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest

from finality.cli.command_line import run_command_line
from tests.acceptance.command_line import Terminal, assert_no_traceback, executable, stop, wait_for_line

pytestmark = pytest.mark.slow

PIN = "98765"
PAYOUT = "Payout:payouts.jsonl:1"


@pytest.fixture
def shop(terminal: Terminal) -> Terminal:
    """A store with ten trips, one of them compensated."""
    terminal.write_trips(10)
    assert terminal.run().status == 3
    return terminal


@pytest.fixture
def payout(terminal: Terminal) -> Terminal:
    """A store with a payout that waits for its approval."""
    terminal.variables["FINALITY_SECRET_KEY"] = "A" * 43 + "="
    terminal.write("payouts.jsonl", json.dumps({"name": "ann", "pin": PIN}) + "\n")
    assert terminal.run("payouts.jsonl", saga="Payout").status == 5
    return terminal


LOOKS = (
    ("transaction", "list"),
    ("transaction", "show", "x"),
    ("transaction", "explain", "x"),
    ("transaction", "retry", "x", "--because", "y"),
    ("transaction", "cancel", "x", "--because", "y"),
    ("transaction", "signal", "x", "y"),
    ("journal", "tail"),
    ("node", "list"),
    ("doctor",),
    ("migrate",),
)


@pytest.mark.parametrize("look", LOOKS, ids=" ".join)
def test_a_look_at_no_store_makes_none(terminal: Terminal, look: tuple[str, ...]) -> None:
    before = terminal.files()

    said = terminal.type(*look)

    assert said.status == 1
    assert "there is no store at shop.db" in said.err + said.out
    assert terminal.files() == before
    assert_no_traceback(said)


def test_a_look_leaves_no_trace_in_somebody_elses_database(terminal: Terminal) -> None:
    connection = sqlite3.connect(terminal.folder / "shop.db")
    connection.execute("CREATE TABLE mine (x)")
    connection.close()
    before = (terminal.folder / "shop.db").read_bytes()

    said = [terminal.type("transaction", "list"), terminal.type("migrate")]

    assert [each.status for each in said] == [1, 1]
    assert all("keeps no journal of Finality" in each.err for each in said)
    assert (terminal.folder / "shop.db").read_bytes() == before


def test_a_participants_file_that_is_not_there_is_named_and_not_made(shop: Terminal) -> None:
    said = shop.type("transaction", "in-doubt", "--participant", "bank=sqlite:///bnak.db")

    assert (said.status, said.out) == (1, "")
    assert "there is no database at bnak.db for participant 'bank'" in said.err
    assert "bnak.db" not in shop.files()


def test_a_list_can_be_narrowed(shop: Terminal) -> None:
    def ids(*options: str) -> list[str]:
        return [head["id"] for head in shop.type("transaction", "list", "--json", *options).json]

    assert len(ids()) == 10
    assert ids("--limit", "2") == ["BookTrip:trips.jsonl:10", "BookTrip:trips.jsonl:9"]
    assert ids("--status", "compensated") == ["BookTrip:trips.jsonl:10"]
    assert (len(ids("--ended")), ids("--open"), ids("--kind", "Payout")) == (10, [], [])


def test_a_list_for_a_person_has_a_header_and_columns(shop: Terminal) -> None:
    said = shop.type("transaction", "list", "--limit", "3")

    assert said.out.splitlines()[0].split() == ["ID", "SAGA", "STATUS", "NODE", "STARTED", "NOTE"]
    assert len(said.out.splitlines()) == 4
    assert "\x1b" not in said.out
    assert "the newest 3" in said.err


def test_a_list_says_what_no_live_node_can_drive(payout: Terminal) -> None:
    said = payout.type("transaction", "list")
    [head] = payout.type("transaction", "list", "--json").json

    assert "none can" in said.out
    assert "no live node can drive Payout@" in said.out
    assert (head["status"], head["node"], head["can_be_driven"]) == ("waiting", None, False)


def test_show_tells_everything_that_happened_in_order(shop: Terminal) -> None:
    said = shop.type("transaction", "show", "BookTrip:trips.jsonl:10")
    data = shop.type("transaction", "show", "BookTrip:trips.jsonl:10", "--json").json

    assert [event["type"] for event in data["events"]] == [
        "Started",
        "StepDone",
        "StepRefused",
        "UndoStarted",
        "CompensationDone",
        "Compensated",
    ]
    assert data["events"][2]["data"]["because"] == "too expensive"
    assert [event["version"] for event in data["events"]] == [1, 2, 3, 4, 5, 6]
    assert said.out.index("step done") < said.out.index("step refused") < said.out.index("compensation done")


def test_explain_says_what_to_do(payout: Terminal) -> None:
    said = payout.type("transaction", "explain", PAYOUT)
    data = payout.type("transaction", "explain", PAYOUT, "--json").json

    assert "the signal 'approval'" in said.out
    assert any(f"finality transaction signal {PAYOUT} approval VALUE" in each for each in data["you_can"])


@pytest.mark.parametrize("verb", ["show", "explain"])
def test_an_unknown_id_is_told_with_one_that_is_like_it(shop: Terminal, verb: str) -> None:
    said = shop.type("transaction", verb, "BookTrip:trip.jsonl:7")

    assert said.status == 1
    assert "did you mean 'BookTrip:trips.jsonl:7'?" in said.err
    assert_no_traceback(said)


def test_the_journal_ends_with_the_newest_events(shop: Terminal) -> None:
    lines = shop.type("journal", "tail", "--json", "-n", "3").out.splitlines()
    everything = shop.type("journal", "tail", "--json", "--after", "0").out.splitlines()

    assert len(lines) == 3
    assert everything[-3:] == lines
    positions = [json.loads(line)["position"] for line in everything]
    assert positions == sorted(set(positions))


def test_the_journal_can_be_narrowed_to_a_stream_and_a_type(shop: Terminal) -> None:
    one = shop.type("journal", "tail", "--json", "--stream", "BookTrip:trips.jsonl:1").out.splitlines()
    refused = shop.type("journal", "tail", "--json", "--type", "steprefused").out.splitlines()
    unknown = shop.type("journal", "tail", "--stream", "BookTrip:trips.jsonl:11")

    assert {json.loads(line)["stream"] for line in one} == {"transaction/BookTrip:trips.jsonl:1"}
    assert [json.loads(line)["type"] for line in refused] == ["StepRefused"]
    assert (unknown.status, "did you mean" in unknown.err) == (1, True)


def test_a_type_that_the_journal_does_not_know_is_told(
    shop: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    def tail(type_: str) -> tuple[int, str]:
        store = f"sqlite:///{shop.folder}/shop.db"
        status = run_command_line(["journal", "tail", "--store", store, "--type", type_])
        return status, capsys.readouterr().err

    mistyped, strange, ours = tail("step_refusd"), tail("Xyzzy"), tail("StepSkipped")
    following = shop.start("journal", "tail", "--follow", "-n", "0", "--type", "StepRefusd")
    note = wait_for_line(following, "StepRefusd")
    stop(following, signal.SIGINT)

    assert mistyped[0] == 1
    assert "did you mean 'StepRefused'" in mistyped[1]
    assert strange[0] == 1
    assert "it has Compensated, " in strange[1]
    assert ours == (0, ""), "none so far is no mistake"
    assert note.endswith("it is waited for, until Ctrl-C\n")


def test_the_journal_is_followed_until_interrupted(shop: Terminal) -> None:
    newest = json.loads(shop.type("journal", "tail", "--json", "-n", "1").out)["position"]
    process = shop.start("journal", "tail", "--after", str(newest), "--follow", "--json")
    try:
        shop.write_trips(11)
        shop.run()
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
    finally:
        said = stop(process, signal.SIGINT)

    assert first["type"] == "Started"
    assert first["stream"] == "transaction/BookTrip:trips.jsonl:11"
    assert said.status == 130
    assert_no_traceback(said)


def test_a_reader_that_has_had_enough_is_no_error(shop: Terminal) -> None:
    shop.write_trips(400)
    shop.run()
    command = f"{executable()} journal tail --after 0 | head -n 1; echo ${{PIPESTATUS[0]}}"

    said = subprocess.run(
        ["bash", "-c", command],
        cwd=shop.folder,
        env=shop.variables,
        capture_output=True,
        text=True,
        check=True,
    )

    assert said.stdout.splitlines()[1:] == ["141"]
    assert said.stderr == ""


def test_nodes_are_listed_with_what_they_drive_and_one_that_closed_has_left(terminal: Terminal) -> None:
    terminal.write_trips(40)
    process = terminal.start(
        "run", "trips.py:BookTrip", "trips.jsonl", "--in-flight", "1", STEP_SECONDS="0.5"
    )
    try:
        wait_for_line(process, "a step prints")
        said = terminal.type("node", "list")
        [alive] = terminal.type("node", "list", "--json").json
    finally:
        stop(process, signal.SIGTERM)
    [left] = terminal.type("node", "list", "--json").json

    assert said.out.split()[:5] == ["ID", "STATE", "HOST", "PROCESS", "JOINED"]
    assert (alive["state"], alive["process"]) == ("alive", process.pid)
    assert [drives.partition("@")[0] for drives in alive["drives"]] == ["BookTrip", "request"]
    assert (left["id"], left["state"]) == (alive["id"], "left")


def test_looking_joins_no_cluster(shop: Terminal) -> None:
    for look in (("transaction", "list"), ("journal", "tail"), ("node", "list"), ("doctor",)):
        shop.type(*look)

    assert shop.rows("SELECT count(*) FROM finality_node") == [(1,)]


def test_the_doctor_finds_a_store_healthy(shop: Terminal) -> None:
    said = shop.type("doctor")
    data = shop.type("doctor", "--json").json

    assert said.status == 0, said.out
    assert data["is_healthy"]
    found = {finding["check"]: finding["level"] for finding in data["findings"]}
    expected = {"sqlite", "journal mode", "durability", "schema", "disk", "clock", "nodes", "stuck", "driven"}
    assert expected <= found.keys()
    assert found["durability"] == found["schema"] == found["clock"] == "ok"


def test_the_doctor_tells_what_is_wrong_with_a_broker_as_such(shop: Terminal) -> None:
    said = shop.type("doctor", "--broker", "foo", "--json")

    [problem] = [each for each in said.json["findings"] if each["level"] == "problem"]
    assert (said.status, problem["check"]) == (1, "broker")
    assert "'foo' names no broker" in problem["found"]


def test_the_doctor_names_what_no_live_node_can_drive(payout: Terminal) -> None:
    said = payout.type("doctor")

    assert said.status == 1
    assert f"no live node can drive 1: {PAYOUT}" in said.out


def test_the_doctor_sees_a_clock_that_went_back(shop: Terminal) -> None:
    connection = sqlite3.connect(shop.folder / "shop.db")
    connection.execute("UPDATE finality_event SET at = at + 3600")
    connection.commit()
    connection.close()

    said = shop.type("doctor", "--json")

    found = [finding for finding in said.json["findings"] if finding["check"] == "clock"]
    assert [finding["level"] for finding in found] == ["warning"]
    assert "in the future" in found[0]["found"]


def test_a_stuck_saga_is_found_explained_and_set_going_again(payout: Terminal) -> None:
    """The story of three in the morning: cancelled, stuck, found, put right, retried, undone."""
    cancelled = payout.type("transaction", "cancel", PAYOUT, "--because", "a mistake", "--by", "ann")
    stuck = payout.run("payouts.jsonl", saga="Payout")
    doctor = payout.type("doctor")
    shown = payout.type("transaction", "show", PAYOUT)
    explained = payout.type("transaction", "explain", PAYOUT)
    (payout.folder / "bank-is-open").touch()
    retried = payout.type("transaction", "retry", PAYOUT, "--because", "it opens", "--by", "bob", "--json")
    ended = payout.run("payouts.jsonl", "--json", saga="Payout")
    late = payout.type("transaction", "retry", PAYOUT, "--because", "again")

    assert cancelled.status == 0, cancelled.err
    assert stuck.status == 4
    assert f"line 1, {PAYOUT}: hold: RuntimeError: the bank is closed for ***" in stuck.out
    assert (doctor.status, f"stuck         1: {PAYOUT}" in doctor.out) == (1, True)
    assert f"finality transaction retry {PAYOUT}" in explained.out
    assert retried.json == {"id": PAYOUT, "node": None, "can_be_driven": False}, "its node has ended"
    assert (ended.status, ended.json["compensated"]) == (3, 1)
    assert (late.status, "neither stuck nor parked" in late.err) == (1, True)
    events = payout.type("transaction", "show", PAYOUT, "--json").json["events"]
    asked = [(event["type"], event["by"]) for event in events if event["type"] in ("UndoStarted", "Retried")]
    assert asked == [("UndoStarted", "ann"), ("Retried", "bob")]
    for said in (stuck, shown, explained):
        assert PIN not in said.out + said.err


def test_a_secret_is_never_shown(payout: Terminal) -> None:
    everything = [
        payout.type("transaction", "show", PAYOUT),
        payout.type("transaction", "show", PAYOUT, "--json"),
        payout.type("transaction", "explain", PAYOUT),
        payout.type("journal", "tail", "--after", "0"),
        payout.type("journal", "tail", "--after", "0", "--json"),
    ]

    assert all(PIN not in said.out + said.err for said in everything)
    assert '"pin": "***"' in everything[0].out
    assert PIN.encode() not in (payout.folder / "shop.db").read_bytes()


# fmt: off
NOT_TAKEN = {
    "no JSON":           (("signal", PAYOUT, "approval", "yes"),          2, "'yes' is not JSON"),
    "no such signal":    (("signal", PAYOUT, "aproval", "true"),          1, "has no signal 'aproval'"),
    "no reason":         (("cancel", PAYOUT),                             2, "missing option '--because'"),
    "nothing to retry":  (("retry", PAYOUT, "--because", "x"),            1, "neither stuck nor parked"),
    "no such command":   (("explai", PAYOUT),                             2, "did you mean 'explain'?"),
    "no such status":    (("list", "--status", "done"),                   2, "'done' is not one of"),
    "an unknown id":     (("cancel", "Payout:payouts.jsonl:2", "--because", "x"), 1, "did you mean 'Payout:"),
    "nothing in doubt":  (("resolve", "t1", "abort", "--because", "x"),   1, "no participant holds a branch"),
}
# fmt: on


@pytest.mark.parametrize("name", NOT_TAKEN)
def test_what_cannot_be_done_is_told_in_a_sentence_and_changes_nothing(payout: Terminal, name: str) -> None:
    arguments, status, expected = NOT_TAKEN[name]
    before = payout.type("journal", "tail", "--after", "0").out

    said = payout.type("transaction", *arguments)

    assert (said.status, expected in said.err) == (status, True), said.err
    assert payout.type("journal", "tail", "--after", "0").out == before != ""
    assert_no_traceback(said)


def test_what_users_wrote_does_not_drive_the_terminal(terminal: Terminal) -> None:
    terminal.write("trips.jsonl", json.dumps({"card": "\x1b[2Jc", "price": 1}) + "\n")
    terminal.run()

    said = terminal.type("journal", "tail", "--after", "0")

    assert "[2Jc" in said.out
    assert "\x1b" not in said.out


def test_an_unreadable_store_is_told_in_a_sentence(terminal: Terminal) -> None:
    Path(terminal.folder / "shop.db").write_bytes(b"no database at all, and long enough to be looked at" * 20)

    said = terminal.type("transaction", "list")

    assert said.status == 1
    assert "is not a database" in said.err
    assert_no_traceback(said)
