"""A foreign outbox table in a SQLite store."""

from __future__ import annotations

from pathlib import Path

from finality.adapters.adopted import TRIGGER, check_columns, quoted
from finality.adapters.sqlite.connection import connect, patiently
from finality.adapters.sqlite.look import check_store

# A column of theirs may be of any type, and may be empty.
ADOPT = """
BEGIN;
DROP TRIGGER IF EXISTS {trigger};
CREATE TRIGGER {trigger} AFTER INSERT ON {table} BEGIN
    INSERT INTO finality_outbox (id, aggregatetype, aggregateid, type, payload)
    VALUES (
        CAST(NEW.id AS TEXT), coalesce(NEW.aggregatetype, ''), coalesce(NEW.aggregateid, ''),
        coalesce(NEW.type, ''), coalesce(NEW.payload, '')
    );
END;
COMMIT;
"""
RELEASE = "DROP TRIGGER IF EXISTS {trigger}"


def adopt(path: Path, table: str, *, is_undone: bool = False) -> None:
    """Let a trigger copy what is inserted into *table* into our outbox, or take it away.

    Raises:
        NotFound: There is no such table.
        DefinitionError: It is no outbox.
    """
    check_store(path)
    connection = connect(path)
    try:
        found = [row[1] for row in connection.execute(f"PRAGMA table_info({quoted(table)})")]
        check_columns(table, found)
        names = {"trigger": quoted(TRIGGER + table), "table": quoted(table)}
        patiently(lambda: connection.execute((RELEASE if is_undone else ADOPT).format(**names)))
    finally:
        connection.close()
