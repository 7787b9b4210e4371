"""The real `finality` executable, in a folder of its own, as a user would type it."""

from __future__ import annotations

import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

from finality.cli import main
from tests.integration.forks import PROCESSES

SECONDS_MAX = 60.0
STORE = "sqlite:///shop.db"

TRIPS = dedent('''
    """Trips, as a user writes them."""

    import os
    import time
    from dataclasses import dataclass
    from datetime import timedelta

    import finality

    SOON = finality.Retry(attempts=2, first_seconds=0.001)


    @dataclass(frozen=True)
    class BookTrip(finality.Saga):
        card: str
        price: int
        note: str | None = None

        @finality.step
        def payment(self, tx: finality.SyncTx, attempt: finality.Attempt) -> str:
            tx.execute("CREATE TABLE IF NOT EXISTS paid (trip TEXT, price INTEGER)")
            tx.execute("INSERT INTO paid VALUES (?, ?)", attempt.transaction_id, self.price)
            return self.card

        @payment.compensate
        def refund(self, tx: finality.SyncTx, attempt: finality.Attempt) -> None:
            tx.execute("DELETE FROM paid WHERE trip = ?", attempt.transaction_id)

        @finality.pivot
        def ticket(self, tx: finality.SyncTx, payment: str) -> str:
            if self.price > 900:
                raise finality.Refused("too expensive")
            return "ticket"

        @finality.step
        def receipt(self, ticket: str) -> str:
            print("a step prints")
            time.sleep(float(os.environ.get("STEP_SECONDS", "0")))
            return ticket


    @dataclass(frozen=True)
    class Payout(finality.Saga):
        name: str
        pin: finality.Secret[str]

        @finality.step
        def hold(self, tx: finality.SyncTx) -> int:
            return 5

        @hold.compensate(retry=SOON)
        def release(self, tx: finality.SyncTx, hold: int) -> None:
            if not os.path.exists("bank-is-open"):
                raise RuntimeError(f"the bank is closed for {self.pin.reveal()}")

        @finality.pivot(wait_for=finality.signal("approval"))
        def paid(self, tx: finality.SyncTx, hold: int, approval: bool) -> str:
            if not approval:
                raise finality.Refused("not approved")
            return "paid"


    class Plain:
        pass
''').lstrip()


@dataclass(frozen=True, slots=True)
class Said:
    """What a command printed and how it ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The only thing it printed, decoded."""
        return json.loads(self.out)


class Terminal:
    """A folder with a file of sagas in it, where one types commands."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.variables = {**os.environ, "NO_COLOR": "1", "FINALITY_STORE": STORE, **variables}
        self.write("trips.py", TRIPS)

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file into the folder."""
        path = self.folder / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def write_trips(self, count: int, name: str = "trips.jsonl") -> None:
        """Write a file of trips, every tenth of them too expensive."""
        lines = [
            json.dumps({"card": f"c{i}", "price": 901 if i % 10 == 9 else i % 900}) for i in range(count)
        ]
        self.write(name, "".join(f"{line}\n" for line in lines))

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start `finality` with *arguments*."""
        return subprocess.Popen(
            [executable(), *arguments],
            cwd=self.folder,
            env={**self.variables, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def type(self, *arguments: str, **variables: str) -> Said:
        """Run `finality` with *arguments* to its end, in a process that need import nothing any more."""
        with tempfile.TemporaryDirectory() as printed:
            told = (self.folder, {**self.variables, **variables}, arguments, Path(printed))
            process = PROCESSES.Process(target=_type, args=told)
            process.start()
            process.join(SECONDS_MAX)
            status = process.exitcode
            process.kill()
            process.join()
            assert status is not None, f"{arguments} took longer than {SECONDS_MAX} seconds"
            return Said(status, *(Path(printed, end).read_text() for end in ("out", "err")))

    def run(self, file: str = "trips.jsonl", *options: str, saga: str = "BookTrip", **variables: str) -> Said:
        """Run `finality run trips.py:SAGA FILE`."""
        return self.type("run", f"trips.py:{saga}", file, *options, **variables)

    def rows(self, sql: str) -> list[Any]:
        """Read from the store with a library that is not ours."""
        connection = sqlite3.connect(self.folder / "shop.db")
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def files(self) -> set[str]:
        """The names of what is in the folder."""
        return {path.name for path in self.folder.iterdir()} - {"__pycache__"}


def _type(folder: Path, variables: dict[str, str], arguments: tuple[str, ...], printed: Path) -> None:
    """Be the script of the installation, in a process that was forked; print into files."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    for number, end in ((1, "out"), (2, "err")):
        os.dup2(os.open(printed / end, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.argv = [executable(), *arguments]
    main()


def executable() -> str:
    """The script that an installation makes."""
    return str(Path(sysconfig.get_path("scripts")) / "finality")


def assert_no_traceback(said: Said) -> None:
    """See that an error is told in a sentence."""
    assert "Traceback" not in said.err + said.out, said.err
    assert "should not have happened" not in said.err, said.err


def wait_for_line(process: subprocess.Popen[str], words: str) -> str:
    """Read the process's standard error until a line has *words* in it."""
    assert process.stderr is not None, "the standard error is a pipe"
    while select.select([process.stderr], [], [], SECONDS_MAX)[0]:
        line = process.stderr.readline()
        if words in line:
            return line
        if not line:
            break
    raise AssertionError(f"no line had {words!r} in it")


def stop(process: subprocess.Popen[str], number: signal.Signals) -> Said:
    """Send a signal and return what the process said until it ended."""
    process.send_signal(number)
    out, err = process.communicate(timeout=SECONDS_MAX)
    return Said(process.returncode, out, err)


def python() -> str:
    """This Python."""
    return sys.executable
