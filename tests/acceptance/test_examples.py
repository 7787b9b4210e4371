"""Every example, run as a reader would run it; and the music store, killed again and again."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from random import Random

import apsw
import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
CHINOOK = Path(os.environ.get("FINALITY_CHINOOK", ROOT.parent / "shared" / "data" / "chinook"))
SECONDS_MAX = 100  # A hang is a failure.
KILLS = 4

needs_chinook = pytest.mark.skipif(
    not CHINOOK.is_dir(), reason="the Chinook data are not here; FINALITY_CHINOOK may name their directory"
)


def run(example: str, *arguments: object, cwd: Path) -> str:
    """Run an example to its end and return what it printed."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / example, *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, timeout=SECONDS_MAX,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    # A busy machine makes turns slow, and then they are reported by name.
    assert [line for line in done.stderr.splitlines() if "held the write turn" not in line] == []
    return done.stdout


def test_every_example_is_run_here() -> None:
    tested = set(re.findall(r'run\(\s*"(\w+\.py)"', Path(__file__).read_text("utf-8")))

    assert {file.name for file in EXAMPLES.glob("*.py")} == tested


@pytest.mark.slow
def test_an_account_goes_on_where_it_was_left(tmp_path: Path) -> None:
    first = run("account.py", cwd=tmp_path)
    second = run("account.py", cwd=tmp_path)

    assert first.splitlines()[:3] == [
        "w-1 paid: receipt for $100 (w-1); ada has $400",
        "w-2 refused: card expired; ada has $400",
        "w-3 refused: not enough money; ada has $400",
    ]
    assert first.count("PaymentProcessed") == 1
    assert second == first, "what has happened is not done again"


@pytest.mark.slow
def test_choreography_ends_one_tour_booked_and_one_undone(tmp_path: Path) -> None:
    told = run("choreography.py", cwd=tmp_path)

    assert "is completed, and nobody conducts it" in told
    assert "hotel/free_room said RoomFree because of SeatRefused" in told
    assert told.endswith("rooms: [('alps',)] seats: [('alps',)]\n")


@pytest.mark.slow
def test_fares_fall_back_on_the_train_and_ask_once(tmp_path: Path) -> None:
    first = run("fares.py", cwd=tmp_path)
    second = run("fares.py", cwd=tmp_path)

    offers = [
        "Oslo: by plane for $240",
        "Lima: by train for $45000: the plane is too small",
        "Rome: by train for $270: the airline did not say in time",
        "Bern: by plane for $120",
        "the airline has told: ['Oslo', 'Bern']",
        "request fare-Rome to fares is expired",
    ]
    for told in (first, second):
        assert [line for line in told.splitlines() if line in offers] == offers
    assert "log: request fare-Rome is not run: its deadline is over" in first
    assert "log: request" not in second, "nothing is asked twice"


@pytest.mark.slow
def test_withdraw_prints_a_payment_and_an_undo(tmp_path: Path) -> None:
    first = run("withdraw.py", cwd=tmp_path)
    second = run("withdraw.py", cwd=tmp_path)

    told = [
        "withdrawal-1 completed: receipt for $100 (withdrawal-1/payment); ada has $400",
        "withdrawal-2 compensated: card expired; ada has $400",
    ]
    assert first.splitlines()[:2] == told
    assert second.splitlines()[:2] == told, "a second run finds the first one's sagas"
    assert "debit was compensated" in first


@pytest.mark.slow
def test_tour_books_all_or_nothing(tmp_path: Path) -> None:
    printed = run("tour.py", cwd=tmp_path)
    ada, bob, eve = re.split(r"^tour-\w+ ", printed, flags=re.MULTILINE)[1:]

    assert ada.startswith("completed: ada goes to Oslo")
    assert ada.rstrip().endswith("ticket issued\n  reminded to pack")
    for tour in (bob, eve):
        assert tour.startswith("compensated: not approved")
        assert re.search(r"\$700 given back\n  \$700 released\n(  .*\n)*  hotel cancelled", tour)
        assert "car cancelled" in tour
        assert "ticket" not in tour
    assert "bob: flight tour-bob/flight cancelled" in printed


@pytest.mark.slow
def test_flask_like_answers_a_repeated_request_alike(tmp_path: Path) -> None:
    printed = run("flask_like.py", cwd=tmp_path)

    assert "sent twice, answered alike: True" in printed
    assert "Leases: 0 on the shelf, 5 parcels" in printed
    assert "Sagas: 17 on the shelf, 8 parcels" in printed
    assert "customer-3's card is declined" in printed
    assert "404 no transaction has the id 'order-99'" in printed


@pytest.mark.slow
def test_wallet_conserves_money_and_prints_an_audit_trail(tmp_path: Path) -> None:
    printed = run("wallet.py", "wallet.db", 500, cwd=tmp_path)

    assert "100 wallets hold 1000000 cents, as in the beginning; the ledger sums to 0" in printed
    trail = printed.partition("the audit trail of ")[2]
    assert re.search(r"Started.*\n.*StepDone\(step='debit'", trail)
    assert re.search(r"because='wallet \d+ is frozen'", trail)
    assert trail.rstrip().endswith("Compensated()")


@pytest.mark.slow
def test_countermeasures_keep_sagas_apart(tmp_path: Path) -> None:
    printed = run("countermeasures.py", cwd=tmp_path)

    assert "bea: 'seat/12A' is locked: saga ann holds it" in printed
    assert "was 10 when the saga saw it and is 12 now" in printed
    assert "sell, overtaken by cancel" in printed


@pytest.mark.slow
def test_seats_are_booked_with_a_room_or_not_at_all(tmp_path: Path) -> None:
    printed = run("seats.py", tmp_path, cwd=tmp_path)

    assert "ada: ticket-1A and a room\nbob: ticket-1B and a room\neve: free of rooms" in printed
    assert "guests: ['ada', 'bob']" in printed
    assert "seats:  {'1A': 'sold', '1B': 'sold', '1C': 'free'}" in printed


# ── The music store ─────────────────────────────────────────────────────────────────────────


@pytest.fixture
def generated(tmp_path: Path) -> Path:
    data = tmp_path / "music"
    run("music_store.py", "--generate", data, "--seed", 7, "--invoices", 250, cwd=tmp_path)
    return data


def run_and_kill(data: Path, store: Path, dice: Random, *options: str) -> list[int]:
    """Kill the replay at random points, then let it finish; return how far each run had come."""
    arguments = [str(data), "--store", f"sqlite:///{store}", *options]
    command = [sys.executable, str(EXAMPLES / "music_store.py"), *arguments]
    killed_at = []
    for number in range(KILLS):
        lines = dice.randrange(1 + 2 * number, 3 + 2 * number)  # A line is twenty purchases.
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as replay:
            assert replay.stdout is not None
            told = [replay.stdout.readline() for _ in range(lines)]
            replay.kill()
        killed_at.append(int(told[-1].split()[0]))
    print("killed at", killed_at)
    run("music_store.py", *arguments, cwd=store.parent)
    return killed_at


def totals(data: Path) -> Mapping[str, Mapping[str, Decimal]]:
    """Return the sums of Invoice.csv: by invoice, by customer, by country."""
    sums: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    with (data / "Invoice.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for column in ("InvoiceId", "CustomerId", "BillingCountry"):
                sums[column][row[column]] += Decimal(row["Total"])
    return sums


def books(store: Path) -> Mapping[str, Mapping[str, Decimal]]:
    """Return the same sums from the store's own tables, read as a file."""
    connection = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
    columns = {"InvoiceId": "id", "CustomerId": "customer", "BillingCountry": "country"}
    sums = {
        name: {
            str(key): Decimal(int(str(cents))) / 100
            for key, cents in connection.execute(f"SELECT {column}, sum(cents) FROM invoice GROUP BY 1")
        }
        for name, column in columns.items()
    }
    [(lines, deliveries)] = connection.execute("SELECT count(*), sum(is_delivered) FROM licence").fetchall()
    assert lines == deliveries, "each line was delivered once"
    connection.close()
    return sums


def lines_of(data: Path) -> int:
    with (data / "InvoiceLine.csv").open(encoding="utf-8", newline="") as file:
        return sum(1 for _ in csv.DictReader(file))


def check_replay(data: Path, store: Path, seed: int) -> None:
    killed_at = run_and_kill(data, store, Random(seed))

    assert killed_at[0] < len(totals(data)["InvoiceId"]), "the first kill hits the middle"
    assert books(store) == totals(data)
    connection = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
    # fmt: off
    counted = {
        "licences": connection.execute("SELECT count(*) FROM licence").fetchall(),
        "charges":  connection.execute("SELECT count(*) - count(DISTINCT invoice) FROM charge").fetchall(),
        "receipts": connection.execute("SELECT count(*) - count(DISTINCT invoice) FROM receipt").fetchall(),
        "invoices": connection.execute("SELECT count(*) - count(DISTINCT id) FROM invoice").fetchall(),
    }
    # fmt: on
    connection.close()
    assert counted == {
        "licences": [(lines_of(data),)],
        "charges": [(0,)],
        "receipts": [(0,)],
        "invoices": [(0,)],
    }


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_generated_store_is_replayed_to_the_cent_although_it_is_killed(
    seed: int, generated: Path, tmp_path: Path
) -> None:
    check_replay(generated, tmp_path / "music.db", seed)


@pytest.mark.slow
@needs_chinook
@pytest.mark.parametrize("seed", [1, 2])
def test_chinook_is_replayed_to_the_cent_although_it_is_killed(seed: int, tmp_path: Path) -> None:
    check_replay(CHINOOK, tmp_path / "music.db", seed)


@pytest.mark.slow
def test_declined_cards_leave_nothing_behind(generated: Path, tmp_path: Path) -> None:
    """Every seventh customer's card is declined: their purchases are undone, the others' stand."""
    store = tmp_path / "declined.db"
    run_and_kill(generated, store, Random(3), "--decline", "7")
    connection = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
    left = [
        connection.execute(f"SELECT count(*) FROM {table} WHERE customer % 7 = 0").fetchall()
        for table in ("invoice", "charge")
    ]
    orphans = connection.execute(
        "SELECT count(*) FROM licence WHERE invoice NOT IN (SELECT id FROM invoice)"
    ).fetchall()
    connection.close()

    assert (left, orphans) == ([[(0,)], [(0,)]], [(0,)])
    expected = {key: cents for key, cents in totals(generated)["CustomerId"].items() if int(key) % 7}
    assert books(store)["CustomerId"] == expected


@pytest.mark.slow
def test_the_generator_writes_the_same_for_the_same_seed(generated: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    run("music_store.py", "--generate", again, "--seed", 7, "--invoices", 250, cwd=tmp_path)
    other = tmp_path / "other"
    run("music_store.py", "--generate", other, "--seed", 8, "--invoices", 250, cwd=tmp_path)

    def texts(data: Path) -> dict[str, str]:
        return {file.name: file.read_text("utf-8") for file in sorted(data.iterdir())}

    assert texts(again) == texts(generated)
    assert texts(other) != texts(generated)
