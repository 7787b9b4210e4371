"""The demo's auditor: reads the databases as files, read-only, with plain SQL and without the engine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from pathlib import Path
from threading import Lock

import apsw

from finality.cli.demo.bank import STORES
from finality.cli.demo.provider import FILE

HOME = "finality"
SHOWN_MAX = 5  # Of what breaks an invariant: the first few tell the story.
PREFIX = "transaction/"

DATABASES = {"home": f"{HOME}.db", "payments": FILE, **{name: f"{name}.db" for name in STORES}}

OWN_TABLES = (
    "CREATE TABLE started (id TEXT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE killed (process INTEGER PRIMARY KEY)",
    "CREATE TABLE ended (id TEXT PRIMARY KEY, status TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE orphan (stream INTEGER PRIMARY KEY)",
    "CREATE TABLE moment (is_final INTEGER NOT NULL)",
    "INSERT INTO moment VALUES (0)",
)


@dataclass(frozen=True, slots=True)
class Invariant:
    """Something that must hold, and the statement that returns what breaks it."""

    name: str
    says: str
    sql: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What an audit found of one invariant.

    Attributes:
        broken: How many things break it.
        examples: The first few of them.
    """

    invariant: Invariant
    broken: int
    examples: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Say whether nothing breaks it."""
        return not self.broken


@dataclass(frozen=True, slots=True)
class Audit:
    """The state of the bank at one moment, as its files have it.

    Attributes:
        recovered: Sagas that were taken over from a killed node and have ended since.
        in_flight_cents: Debited, and neither paid out nor given back yet.
        paid_cents: What the payment provider has paid and not taken back.
    """

    transactions: int
    completed: int
    compensated: int
    open: int
    recovered: int
    balance_cents: int
    in_flight_cents: int
    paid_cents: int
    findings: tuple[Finding, ...]

    def finding(self, name: str) -> Finding:
        """Return what was found of the invariant called *name*."""
        return next(finding for finding in self.findings if finding.invariant.name == name)

    @property
    def holds(self) -> bool:
        """Say whether every invariant holds."""
        return all(finding.holds for finding in self.findings)


def invariants() -> tuple[Invariant, ...]:
    """Return the invariants, in the order in which they are shown."""
    text = files(__package__).joinpath("invariants.sql").read_text("utf-8")
    found = []
    for part in text.split("-- name: ")[1:]:
        name, says, *sql = part.strip().splitlines()
        found.append(Invariant(name, says.removeprefix("-- "), "\n".join(sql)))
    return tuple(found)


class Auditor:
    """Looks at a bank's files, again and again."""

    def __init__(self, directory: Path) -> None:
        self._invariants = invariants()
        self._connection = apsw.Connection(":memory:", flags=_FLAGS)
        self._position = 0
        self._turn = Lock()
        for statement in OWN_TABLES:
            self._connection.execute(statement)
        for name, file in DATABASES.items():
            self._connection.execute(f"ATTACH ? AS {name}", (f"file:{directory / file}?mode=ro",))

    def close(self) -> None:
        """Let go of the files, also in the middle of an audit in another thread."""
        self._connection.interrupt()
        with self._turn:
            self._connection.close()

    def note(self, *, started: Iterable[str] = (), killed: Iterable[int] = ()) -> None:
        """Remember what the client knows: the sagas it was told are durable, and the nodes it killed."""
        with self._connection:
            self._connection.executemany(
                "INSERT OR IGNORE INTO started VALUES (?)", ((id,) for id in started)
            )
            self._connection.executemany("INSERT OR IGNORE INTO killed VALUES (?)", ((id,) for id in killed))

    def open(self) -> int:
        """Return how many sagas have not ended."""
        return self._number("SELECT count(*) FROM home.finality_stream WHERE open = 1")

    def open_of(self, process: int) -> int:
        """Return how many open sagas the node with a process id drives."""
        sql = (
            "SELECT count(*) FROM home.finality_stream s JOIN home.finality_node n ON n.node = s.driver"
            " WHERE s.open = 1 AND n.process = ?"
        )
        return self._number(sql, (process,))

    def audit(self, *, is_final: bool = False) -> Audit:
        """Check every invariant.

        Args:
            is_final: Nothing runs any more, so whatever was started must have ended.
        """
        with self._turn:
            self._connection.execute("BEGIN")
            try:
                self._connection.execute("UPDATE moment SET is_final = ?", (is_final,))
                # The journal comes first: what had ended by then does not change in the other databases.
                self._read_journal()
                findings = tuple(self._find(invariant) for invariant in self._invariants)
                return self._audit(findings)
            finally:
                self._connection.execute("COMMIT")

    def _read_journal(self) -> None:
        execute = self._connection.execute
        execute("DELETE FROM ended")
        execute(
            "INSERT INTO ended SELECT substr(name, ?), status FROM home.finality_stream"
            " WHERE open IS NULL AND definition IS NOT NULL",
            (len(PREFIX) + 1,),
        )
        execute(
            "INSERT OR IGNORE INTO orphan SELECT e.stream FROM home.finality_event e"
            " JOIN home.finality_node n ON n.id = json_extract(CAST(e.data AS TEXT), '$.previous')"
            " JOIN killed k ON k.process = n.process"
            " WHERE e.position > ? AND e.type = 'saga.TakenOver'",
            (self._position,),
        )
        self._position = self._number("SELECT ifnull(max(position), 0) FROM home.finality_event")

    def _find(self, invariant: Invariant) -> Finding:
        rows = self._connection.execute(invariant.sql)
        examples = tuple(str(row[0]) for row in islice(rows, SHOWN_MAX))
        return Finding(invariant, len(examples) + sum(1 for _ in rows), examples)

    def _audit(self, findings: tuple[Finding, ...]) -> Audit:
        number = self._number
        completed = number("SELECT count(*) FROM ended WHERE status = 'completed'")
        compensated = number("SELECT count(*) FROM ended WHERE status = 'compensated'")
        open = self.open()
        balance = number("SELECT sum(cents) FROM accounts.account")
        paid = number(
            "SELECT ifnull(sum(cents), 0) FROM payments.movement WHERE saga IN (SELECT id FROM ended)"
        )
        return Audit(
            transactions=completed + compensated + open,
            completed=completed,
            compensated=compensated,
            open=open,
            recovered=number(
                "SELECT count(*) FROM orphan o JOIN home.finality_stream s ON s.stream = o.stream"
                " WHERE s.open IS NULL"
            ),
            balance_cents=balance,
            in_flight_cents=number(
                "SELECT -ifnull(sum(cents), 0) FROM accounts.movement"
                " WHERE saga NOT IN (SELECT id FROM ended)"
            ),
            paid_cents=paid,
            findings=findings,
        )

    def _number(self, sql: str, parameters: tuple[object, ...] = ()) -> int:
        [(value,)] = self._connection.execute(sql, parameters).fetchall()
        assert isinstance(value, int), f"{sql} is {value!r}"
        return value


_FLAGS = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
