"""The schema of a store, and its migrations: numbered scripts that only go forward."""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib import resources

import apsw

from finality.core.errors import SchemaMismatch, Unavailable

OPEN_SECONDS_MAX = 30.0  # Another process may be migrating; a larger wait means that it hangs.


def migrations(*, is_home: bool) -> dict[int, str]:
    """Return the scripts that make the schema, by the version each leads to."""
    scripts: dict[int, str] = {}
    for file in sorted((resources.files(__package__) / "migrations").iterdir(), key=lambda f: f.name):
        number, _, part = file.name.removesuffix(".sql").partition("_")
        if is_home or part != "home":
            scripts[int(number)] = scripts.get(int(number), "") + file.read_text("utf-8")
    return scripts


def migrate(connection: apsw.Connection, scripts: Mapping[int, str], *, part: str) -> int:
    """Bring *part* of the schema forward to the newest script; return its version.

    Several processes may call it at once: each script runs once, in one transaction.

    Args:
        part: ``store`` or ``home``, each with a version of its own.

    Raises:
        SchemaMismatch: The store is newer than this code; nothing was written.
    """
    newest = max(scripts)
    if version_of(connection, part) == newest:
        return newest
    _begin(connection)
    try:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS finality_schema (part TEXT PRIMARY KEY, version INTEGER NOT NULL)"
        )
        found = version_of(connection, part)
        if found > newest:
            raise SchemaMismatch(
                f"the store has schema {found} and this version of Finality knows {newest}: "
                "newer code has opened it; upgrade Finality here"
            )
        for number in range(found + 1, newest + 1):
            connection.execute(scripts[number])
        connection.execute("INSERT OR REPLACE INTO finality_schema VALUES (?, ?)", (part, newest))
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return newest


def version_of(connection: apsw.Connection, part: str) -> int:
    """Return the version of *part* of the schema; 0 when there is none."""
    if not connection.table_exists("main", "finality_schema"):
        return 0
    row = connection.execute("SELECT version FROM finality_schema WHERE part = ?", (part,)).fetchone()
    return int(row[0]) if row else 0


def _begin(connection: apsw.Connection) -> None:
    give_up = time.monotonic() + OPEN_SECONDS_MAX
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except apsw.BusyError as error:
            if time.monotonic() > give_up:
                raise Unavailable(
                    f"the store is unavailable: another process has held it for {OPEN_SECONDS_MAX:.0f} "
                    "seconds; find the process that has the file open"
                ) from error
            time.sleep(0.002)
