"""The schema of a store, and its migrations: numbered scripts that only go forward."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

import apsw

from finality.adapters.sqlite.connection import explain, patiently
from finality.core.errors import SchemaMismatch

Scripts = Mapping[int, str]

STORE, HOME, BROKER = "store", "home", "broker"


def migrations(*names: str) -> dict[str, dict[int, str]]:
    """Return the scripts that make each of these parts of the schema, by the version each leads to."""
    parts: dict[str, dict[int, str]] = {name: {} for name in names}
    for file in (resources.files(__package__) / "migrations").iterdir():
        number, _, part = file.name.removesuffix(".sql").partition("_")
        if part in parts:
            parts[part][int(number)] = file.read_text("utf-8")
    return parts


def migrate(connection: apsw.Connection, parts: Mapping[str, Scripts]) -> None:
    """Bring each part of the schema forward to its newest script, all in one transaction.

    Several processes may call it at once: each script runs once.

    Args:
        parts: Each with a version of its own.

    Raises:
        SchemaMismatch: The store is newer than this code; nothing was written.
        Unavailable: The file cannot be written.
    """
    try:
        if not _outdated(connection, parts):
            return
        patiently(lambda: connection.execute("BEGIN IMMEDIATE"))
        try:
            _run(connection, parts)
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    except apsw.Error as error:
        raise explain(error) from error


def _run(connection: apsw.Connection, parts: Mapping[str, Scripts]) -> None:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS finality_schema (part TEXT PRIMARY KEY, version INTEGER NOT NULL)"
    )
    # Another process may have come first since we looked, and may be newer.
    for part, found in _outdated(connection, parts).items():
        scripts = parts[part]
        for number in sorted(number for number in scripts if number > found):
            connection.execute(scripts[number]).fetchall()
        connection.execute("INSERT OR REPLACE INTO finality_schema VALUES (?, ?)", (part, max(scripts)))


def _outdated(connection: apsw.Connection, parts: Mapping[str, Scripts]) -> dict[str, int]:
    """Return the version found of each part that is not the newest."""
    found = {part: version_of(connection, part) for part in parts}
    for part, version in found.items():
        newest = max(parts[part])
        if version > newest:
            raise SchemaMismatch(
                f"the {part} schema has version {version} and this version of Finality knows {newest}: "
                "newer code has opened it; upgrade Finality here"
            )
    return {part: version for part, version in found.items() if version < max(parts[part])}


def version_of(connection: apsw.Connection, part: str) -> int:
    """Return the version of *part* of the schema; 0 when there is none."""
    if not connection.table_exists("main", "finality_schema"):
        return 0
    row = connection.execute("SELECT version FROM finality_schema WHERE part = ?", (part,)).fetchone()
    return int(row[0]) if row else 0
