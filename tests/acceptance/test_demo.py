"""The demo: killed, interrupted and audited; and its auditor, with the mistakes it must find."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import apsw
import pytest

import finality
from finality.cli.demo import bank
from finality.cli.demo.invariants import Audit, Auditor, invariants
from finality.cli.demo.provider import Fate, PaymentProvider, ProviderServer, fate_of

DEMO = [sys.executable, "-m", "finality.cli", "demo", "--json"]
SECONDS_MAX = 110  # A hang is a failure.
SEED = 1
CLEARED, STOPPED = "4000000000000002", "4000000000000013"  # Compliance stops what ends in 13.

NAMES = {
    "money_conserved",
    "balances_add_up",
    "double_entry_sums_to_zero",
    "every_debit_has_one_payment_or_one_refund",
    "all_or_nothing",
    "notified_exactly_once",
    "nothing_lost",
    "nothing_doubled",
}


# ── The command ─────────────────────────────────────────────────────────────────────────────


def check_report(done: dict[str, Any]) -> None:
    """See that every number says what the demo is there to show."""
    assert done["invariants"] == dict.fromkeys(NAMES, True)
    assert (done["lost"], done["doubled"]) == (0, 0)
    assert done["transactions"] == done["completed"] + done["compensated"]
    for name in ("completed", "compensated", "recovered", "kills", "per_second"):
        assert done[name] > 0, f"{name} is {done[name]}"


@pytest.mark.slow
def test_the_demo_holds_its_invariants_while_nodes_are_killed() -> None:
    done = subprocess.run([*DEMO, "--seconds", "4"], capture_output=True, text=True, timeout=SECONDS_MAX)

    assert done.returncode == 0, done.stderr
    check_report(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.slow
def test_ctrl_c_ends_the_demo_early_and_the_books_balance() -> None:
    """Interrupt it after its first kill, long before its time: what was started is finished."""
    command = [*DEMO, "--seconds", "600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stderr is not None
        for line in demo.stderr:
            if "kill -9" in line:
                break
        demo.send_signal(signal.SIGINT)
        output, errors = demo.communicate(timeout=SECONDS_MAX)

    assert demo.returncode == 0, errors
    check_report(json.loads(output.splitlines()[-1]))


@pytest.mark.slow
def test_keep_keeps_files_that_the_command_line_can_read(tmp_path: Path) -> None:
    place = tmp_path / "bank"
    done = subprocess.run(
        [*DEMO, "--seconds", "1", "--nodes", "2", "--directory", str(place)],
        capture_output=True, text=True, timeout=SECONDS_MAX,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = next(line for line in done.stderr.splitlines() if "transaction list" in line)

    listed = subprocess.run(
        [sys.executable, "-m", "finality.cli", *told.split()[1:]],
        capture_output=True, text=True, timeout=SECONDS_MAX,
    )  # fmt: skip

    assert listed.returncode == 0, listed.stderr
    assert "Withdraw" in listed.stdout


def test_a_directory_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("mine")
    done = subprocess.run(
        [*DEMO, "--directory", str(tmp_path)], capture_output=True, text=True, timeout=SECONDS_MAX
    )

    assert done.returncode == 1
    assert "is not empty" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["diary.txt"]


# ── The auditor, and what it must find ──────────────────────────────────────────────────────


def payment_with(fate: Fate) -> str:
    """Return the id of a withdrawal that fares so at the provider."""
    ids = (f"withdrawal-{number}" for number in count(1))
    return next(id for id in ids if fate_of(SEED, f"{id}/payment") is fate)


def orders() -> dict[str, finality.Saga]:
    """Return a saga for each way that one can end."""
    return {
        payment_with(Fate.WELL): bank.Withdraw("ada", 10_000, CLEARED),
        payment_with(Fate.REFUSED): bank.Withdraw("ada", 10_000, CLEARED),
        payment_with(Fate.HANGS_UP): bank.Withdraw("bob", 10_000, CLEARED),
        payment_with(Fate.BUSY): bank.Withdraw("bob", 10_000, STOPPED),
        "too-much": bank.Withdraw("eve", 10_000, CLEARED),
        "moved": bank.Transfer("ada", "bob", 5_000),
        "to-a-closed-wallet": bank.Transfer("ada", "zoe", 5_000),
    }


ACCOUNTS = [
    bank.Account("ada", 100_000),
    bank.Account("bob", 100_000),
    bank.Account("eve", 100),
    bank.Account("zoe", 0, is_closed=True),
]


async def work(directory: Path, server_class: type[ProviderServer]) -> None:
    """Run the orders on one node, with a provider in this process."""
    with tempfile.TemporaryDirectory(prefix="finality-") as short:  # A socket's path must be short.
        socket = Path(short) / "provider.sock"
        provider = server_class(directory, SEED)
        server = await asyncio.start_unix_server(provider.serve, str(socket))
        bank.provider = PaymentProvider(socket)
        async with bank.open_bank(directory, lease=timedelta(seconds=10)) as node:
            await bank.found_bank(node, ACCOUNTS)
            handles = [await node.start(saga, id=id) for id, saga in orders().items()]
            async with asyncio.timeout(SECONDS_MAX):
                await asyncio.gather(*(handle.outcome() for handle in handles))
        server.close()
        provider.close()


def audit(directory: Path, started: Iterator[str] | None = None) -> Audit:
    auditor = Auditor(directory)
    auditor.note(started=started or iter(orders()))
    found = auditor.audit(is_final=True)
    auditor.close()
    return found


def broken(found: Audit) -> set[str]:
    return {finding.invariant.name for finding in found.findings if not finding.holds}


@pytest.mark.slow
def test_an_honest_bank_breaks_no_invariant(tmp_path: Path) -> None:
    asyncio.run(work(tmp_path, ProviderServer))
    found = audit(tmp_path)

    assert broken(found) == set()
    assert {invariant.name for invariant in invariants()} == NAMES
    assert (found.completed, found.compensated, found.open) == (3, 4, 0)
    assert (found.paid_cents, found.in_flight_cents, found.balance_cents) == (20_000, 0, 180_100)


move, book, notify = bank.move, bank.book, bank.notify


def take_twice(tx: finality.SyncTx, saga: str, account: str, cents: int) -> None:
    bank.move(tx, saga, "debit", account, -cents)
    bank.move(tx, saga, "debit", account, -cents)


def take_what_is_not_there(tx: finality.SyncTx, saga: str, account: str, cents: int) -> None:
    bank.move(tx, saga, "debit", account, -cents)


def move_without_refunds(tx: finality.SyncTx, saga: str, kind: str, account: str, cents: int) -> None:
    if kind != "debit undone":
        move(tx, saga, kind, account, cents)


def move_with_refunds_twice(tx: finality.SyncTx, saga: str, kind: str, account: str, cents: int) -> None:
    move(tx, saga, kind, account, cents)
    if kind == "debit undone":
        move(tx, saga, kind, account, cents)


def move_without_record(tx: finality.SyncTx, saga: str, kind: str, account: str, cents: int) -> None:
    tx.execute("UPDATE account SET cents = cents + ? WHERE id = ?", cents, account)
    if kind != "credit":
        tx.execute("INSERT INTO movement VALUES (?, ?, ?, ?)", saga, kind, account, cents)


def book_one_side(tx: finality.SyncTx, saga: str, kind: str, *, debit: str, credit: str, cents: int) -> None:
    tx.execute("INSERT INTO line VALUES (?, ?, ?, ?)", saga, kind, credit, cents)


def book_no_reversal(
    tx: finality.SyncTx, saga: str, kind: str, *, debit: str, credit: str, cents: int
) -> None:
    if kind != "reversal":
        book(tx, saga, kind, debit=debit, credit=credit, cents=cents)


def notify_twice(tx: finality.SyncTx, saga: str, account: str, text: str) -> None:
    notify(tx, saga, account, text)
    notify(tx, saga, account, text)


def notify_nobody(tx: finality.SyncTx, saga: str, account: str, text: str) -> None:
    pass


class ForgetsKeys(ProviderServer):
    """Pays again whenever it is asked again."""

    def _pay(self, key: str, saga: str, cents: int) -> dict[str, Any]:
        self._connection.execute("DELETE FROM payment WHERE key = ?", (key,))
        return super()._pay(key, saga, cents)


class LosesPayments(ProviderServer):
    """Says that it has paid."""

    def _pay(self, key: str, saga: str, cents: int) -> dict[str, Any]:
        return {"receipt": "R0"}


class KeepsRefunds(ProviderServer):
    """Says that it has taken a payment back."""

    def _cancel(self, key: str, saga: str) -> dict[str, Any]:
        return {"cancelled": True}


MONEY, BALANCES, ENTRY = "money_conserved", "balances_add_up", "double_entry_sums_to_zero"
SETTLED, WHOLE = "every_debit_has_one_payment_or_one_refund", "all_or_nothing"
NOTIFIED, DOUBLED = "notified_exactly_once", "nothing_doubled"

# fmt: off
PLANTED: dict[str, tuple[Callable[..., None] | type[ProviderServer], set[str]]] = {
    # where: what is planted there, and what must be found
    "take: twice":           (take_twice,              {MONEY, WHOLE, DOUBLED, BALANCES}),
    "take: blindly":         (take_what_is_not_there,  {BALANCES}),
    "move: no refund":       (move_without_refunds,    {MONEY, SETTLED, WHOLE}),
    "move: refund twice":    (move_with_refunds_twice, {MONEY, SETTLED, WHOLE, DOUBLED}),
    "move: no record":       (move_without_record,     {BALANCES, SETTLED, WHOLE}),
    "book: one side":        (book_one_side,           {ENTRY}),
    "book: no reversal":     (book_no_reversal,        {WHOLE}),
    "notify: twice":         (notify_twice,            {NOTIFIED, DOUBLED}),
    "notify: nobody":        (notify_nobody,           {NOTIFIED}),
    "provider: forgets keys":    (ForgetsKeys,         {MONEY, SETTLED, WHOLE, DOUBLED}),
    "provider: loses payments":  (LosesPayments,       {MONEY, SETTLED, WHOLE}),
    "provider: keeps refunds":   (KeepsRefunds,        {MONEY, SETTLED, WHOLE}),
}
# fmt: on


@pytest.mark.slow
@pytest.mark.parametrize("where", PLANTED)
def test_a_planted_mistake_is_found(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted, expected = PLANTED[where]
    server: type[ProviderServer] = ProviderServer
    if isinstance(planted, type):
        server = planted
    else:
        monkeypatch.setattr(bank, where.partition(":")[0], planted)
    asyncio.run(work(tmp_path, server))

    assert broken(audit(tmp_path)) == expected


@pytest.mark.slow
def test_a_saga_that_is_gone_and_one_that_never_ended_are_found(tmp_path: Path) -> None:
    asyncio.run(work(tmp_path, ProviderServer))
    connection = apsw.Connection(str(tmp_path / "finality.db"))
    connection.execute("UPDATE finality_stream SET open = 1 WHERE name = 'transaction/moved'")
    connection.close()
    found = audit(tmp_path, iter(["moved", "never-heard-of"])).finding("nothing_lost")

    assert sorted(found.examples) == ["moved has not ended", "never-heard-of was started and is gone"]
