"""The user's tables, as far as a branch has to know them: which it may write, and in what shape they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import apsw

from finality.adapters.sqlite.guard import OURS


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the user's.

    Attributes:
        refusal: Why a branch may not write it; empty if it may.
        columns: Each with its place in the primary key, from 1; 0 when it is no part of it.
        nullable_key: The columns of the key that may be null: SQLite's sessions overlook such rows.
    """

    name: str
    refusal: str
    columns: tuple[tuple[str, int], ...] = ()
    nullable_key: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of one version of the schema, by name."""

    version: int
    by_name: dict[str, Table]


def schema_version(connection: apsw.Connection) -> int:
    """Return the number that every change of the schema moves on, by whoever."""
    version: Any = connection.pragma("schema_version")
    return int(version)


def tables_of(connection: apsw.Connection) -> Tables:
    """Return what there is; inside of a transaction, so that it stays so."""
    listed: list[Any] = connection.execute("PRAGMA main.table_list").fetchall()
    by_name = {
        name: _table(connection, name, kind, has_rowid=not without_rowid)
        for _, name, kind, _, without_rowid, _ in listed
        if not name.startswith("sqlite_") and not name.lower().startswith(OURS)
    }
    return Tables(schema_version(connection), by_name)


def _table(connection: apsw.Connection, name: str, kind: str, *, has_rowid: bool) -> Table:
    if kind == "view":
        return Table(name, "")  # What its triggers write counts.
    if kind != "table":
        return Table(name, f"{name} is a {kind} table, whose changes SQLite cannot record")
    info: list[Any] = connection.execute(f"PRAGMA main.table_xinfo({quoted(name)})").fetchall()
    columns = tuple((str(column), int(place)) for _, column, _, _, _, place, _ in info)
    if not any(place for _, place in columns):
        return Table(name, f"table {name} has no primary key, so SQLite cannot record its changes", columns)
    # A key without an index of its own is the rowid, which is never null.
    indexes = connection.execute(f"PRAGMA main.index_list({quoted(name)})").fetchall()
    may_be_null = has_rowid and any(origin == "pk" for _, _, _, origin, _ in indexes)
    nullable = tuple(str(row[1]) for row in info if row[5] and not row[3]) if may_be_null else ()
    return Table(name, "", columns, nullable)


def quoted(name: str) -> str:
    """Return *name* as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'
