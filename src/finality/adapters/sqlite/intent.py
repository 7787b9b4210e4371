"""The intent: what committing a branch will do, kept durable from its yes to the decision.

```
    work ── changeset ── undo ── try it out, undo ── intent ── COMMIT        one transaction: the vote
                                                        │
    finish(COMMIT):  delete the intent ── apply ── witness ── COMMIT         one transaction
    finish(ABORT):   delete the intent ── COMMIT
```

The write turn is held from the first statement to the commit of the intent, and from then on the
triggers hold it, so nobody ever comes between.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import apsw

from finality.adapters.sqlite.guard import OURS
from finality.adapters.sqlite.queries import QUERIES
from finality.adapters.sqlite.tables import Tables, tables_of
from finality.core.errors import Unavailable
from finality.core.two_phase import Decision
from finality.ports.participant import BranchId

WITNESS_SECONDS = 30 * 86_400.0  # Longer than any node that knows of a branch may be out of service.
PRUNE_ROWS_MAX = 100  # More than are written meanwhile, and little beside a commit.

Sequences = dict[str, int]
Ours = Sequence[tuple[str, Sequence[Any]]]
"""Statements that write tables of Finality's, such as the outbox, with their values."""


class Misfit(Exception):
    """A changeset does not fit the rows that are there; says which."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A branch in doubt.

    Attributes:
        sequences: The AUTOINCREMENT numbers that it has used up, also for rows that it deleted again.
        shapes: The columns of each table that it changes, with their places in the key.
        ours: What it published. A changeset would hold places in the outbox that are others' by then.
    """

    branch: str
    changeset: bytes
    sequences: Sequences
    shapes: dict[str, list[list[Any]]]
    ours: Ours
    at: float


def shapes_of(tables: Tables, names: Iterable[str]) -> dict[str, list[list[Any]]]:
    """Return the columns of some tables, as an intent keeps them."""
    known = tables.by_name
    return {name: [[*column] for column in known[name].columns] for name in sorted(names) if name in known}


def sequences_of(connection: apsw.Connection) -> Sequences:
    """Return how far AUTOINCREMENT has come in each table of the user's."""
    if not connection.table_exists("main", "sqlite_sequence"):
        return {}
    rows: list[Any] = connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall()
    return {name: number for name, number in rows if not name.startswith(OURS)}


def keep(connection: apsw.Connection, intent: Intent) -> None:
    """Write the intent; durable with the caller's commit."""
    connection.execute(
        QUERIES["intend"],
        (
            intent.branch, intent.changeset, json.dumps(intent.sequences), json.dumps(intent.shapes),
            json.dumps(intent.ours, default=_as_text), intent.at,
        ),
    )  # fmt: skip


def kept(connection: apsw.Connection) -> list[Intent]:
    """Return the intents there are."""
    rows: list[Any] = connection.execute(QUERIES["intents"]).fetchall()
    return [
        Intent(branch, changeset, json.loads(sequences), json.loads(shapes), _ours_from(ours), at)
        for branch, changeset, sequences, shapes, ours, at in rows
    ]


def _as_text(data: bytes) -> list[str]:
    """Return bytes as JSON can hold them: no other value is a list."""
    return [base64.b64encode(data).decode()]


def _ours_from(text: str) -> Ours:
    return [
        (sql, [base64.b64decode(*value) if isinstance(value, list) else value for value in values])
        for sql, values in json.loads(text)
    ]


def found(connection: apsw.Connection, branch: BranchId) -> tuple[bool, Decision | None]:
    """Return whether the branch is in doubt, and what its witness says."""
    is_in_doubt, did = connection.execute(QUERIES["found"], (str(branch),)).fetchall()[0]
    return bool(is_in_doubt), None if did is None else Decision(did)


def testify(connection: apsw.Connection, branch: BranchId, did: Decision, at: float) -> None:
    """Write the branch's witness, once; forget some that nobody can ask for any more."""
    connection.execute(QUERIES["prune"], (at - WITNESS_SECONDS, PRUNE_ROWS_MAX))
    connection.execute(QUERIES["witness_branch"], (str(branch), did.value, at))


def finish(connection: apsw.Connection, branch: BranchId, decision: Decision, at: float) -> Decision:
    """Do what was decided, within the caller's transaction; return what the branch has done.

    A branch that has no intent has committed, as its witness says, or never will.

    Raises:
        Unavailable: Somebody has changed the file in spite of the triggers.
    """
    intent = next((intent for intent in kept(connection) if intent.branch == str(branch)), None)
    if intent is None:
        return settle(connection, branch, at)
    connection.execute(QUERIES["unintend"], (str(branch),))
    if decision is Decision.COMMIT:
        try:
            _check_shapes(intent, tables_of(connection))
            apply(connection, intent.changeset)
        except Misfit as misfit:
            raise Unavailable(
                f"branch {branch} cannot be committed: while it was in doubt, somebody changed what it "
                f"writes without regard to Finality's triggers ({misfit}); put that back as it was, with "
                "triggers off, and it is committed at the next attempt"
            ) from misfit
        for table, number in intent.sequences.items():
            connection.execute(QUERIES["advance_sequence"], (table, number))
            connection.execute(QUERIES["begin_sequence"], (table, number))
        for sql, values in intent.ours:
            connection.execute(sql, values)
        testify(connection, branch, decision, at)
    return decision


def settle(connection: apsw.Connection, branch: BranchId, at: float) -> Decision:
    """Return what a branch that is not in doubt has done; see that it stays so."""
    is_in_doubt, did = found(connection, branch)
    if is_in_doubt:
        raise Unavailable(f"branch {branch} is in doubt: it is settled by the decision of its transaction")
    if did is None:
        # A branch that is late finds this and does not commit any more.
        did = Decision.ABORT
        testify(connection, branch, did, at)
    return did


def _check_shapes(intent: Intent, tables: Tables) -> None:
    for name, columns in intent.shapes.items():
        # A column that was added behind them is none of the branch's business.
        if shapes_of(tables, [name]).get(name, [])[: len(columns)] != columns:
            raise Misfit(f"the columns of {name} are not what they were")


def apply(connection: apsw.Connection, changeset: bytes) -> None:
    """Repeat the changes that a branch made, and nothing else.

    What its triggers and foreign keys did is among the changes, so neither acts again; whether
    foreign keys hold is checked.

    Raises:
        Misfit: The rows are not those that the branch saw; what was applied must be undone.
    """
    misfits: list[str] = []

    def note(reason: int, change: apsw.TableChange) -> int:
        what = apsw.mapping_session_conflict[reason]
        misfits.append(
            f"{change.fk_conflicts} foreign keys are broken"
            if reason == apsw.SQLITE_CHANGESET_FOREIGN_KEY
            else f"{what} at a row of {change.name}"
        )
        return apsw.SQLITE_CHANGESET_ABORT

    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
    try:
        apsw.Changeset.apply(
            changeset, connection, conflict=note, flags=apsw.SQLITE_CHANGESETAPPLY_FKNOACTION
        )
    except apsw.AbortError as error:
        raise Misfit(", ".join(misfits)) from error
    finally:
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 1)
