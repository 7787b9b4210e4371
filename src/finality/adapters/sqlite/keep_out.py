"""What keeps every other writer out of the file while a branch is in doubt: triggers on each table.

They refuse whoever writes, with any program, as long as there is an intent. Our own tables are free,
but for witnesses of ``is_first``: the branch may have left the same one. They stay in the file:
otherwise they cost a look at an empty table, and to make them anew for each transaction cost 10 ms
with 50 tables.
"""

from __future__ import annotations

from typing import Any

import apsw

from finality.adapters.sqlite.queries import QUERIES
from finality.adapters.sqlite.tables import Tables, quoted
from finality.core.errors import Conflict
from finality.ports.participant import BranchId
from finality.ports.store import JOINED

PREFIX = "finality_keep_out_"
HELD = "finality: a transaction in doubt holds this file until it is decided; see the table finality_intent"
WRITES = ("insert", "update", "delete")
WITNESSES = "finality_witness"
HOLDS = "EXISTS (SELECT 1 FROM finality_intent)"


def has_triggers(connection: apsw.Connection, tables: Tables) -> bool:
    """Say whether each table has its triggers."""
    counts: list[Any] = connection.execute(QUERIES["keep_out_counts"]).fetchall()
    asked = {(table.name, len(WRITES)) for table in tables.by_name.values() if table.columns}
    return set(counts) == asked | {(WITNESSES, 1)}


def make_triggers(connection: apsw.Connection, tables: Tables) -> None:
    """Give each table its triggers."""
    # A table may have been renamed, and another have its old name now: begin anew.
    old: list[Any] = connection.execute(QUERIES["keep_out_names"]).fetchall()
    for (name,) in old:
        connection.execute(f"DROP TRIGGER main.{quoted(name)}")
    for table in tables.by_name.values():
        if table.columns:
            for write in WRITES:
                _refuse(connection, write, table.name, HOLDS)
    _refuse(connection, "insert", WITNESSES, f"NEW.operation = '{JOINED}' AND {HOLDS}")


def _refuse(connection: apsw.Connection, write: str, table: str, when: str) -> None:
    trigger, on = quoted(f"{PREFIX}{write}_{table}"), quoted(table)
    connection.execute(
        f"CREATE TRIGGER main.{trigger} BEFORE {write} ON {on} "
        f"WHEN {when} BEGIN SELECT RAISE(ABORT, '{HELD}'); END"
    )


def check_kept_out(connection: apsw.Connection, error: Exception) -> None:
    """See that *error* of a statement is not that a branch in doubt holds the file.

    Raises:
        Conflict: It is; it says which transaction.
    """
    if not isinstance(error, apsw.ConstraintError) or HELD not in str(error):
        return
    holder = holder_of(connection)
    name = f"transaction {holder.transaction}" if holder else "a transaction"
    raise Conflict(
        f"nothing was written: {name} was in doubt and held the file; run it again, or if that lasts, "
        "see what it waits for: `finality transaction explain`"
    ) from error


def holder_of(connection: apsw.Connection) -> BranchId | None:
    """Return the branch that is in doubt, if one is."""
    row = connection.execute("SELECT branch FROM finality_intent").fetchone()
    return BranchId.parse(row[0]) if row else None
