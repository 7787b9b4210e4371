"""Bare SQLite as a queue: rows into a table, a durable commit for each batch."""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from finality.cli.bench.bare import Bare, batches

COLUMNS = ("id", "source", "type", "partitionkey", "time", "datacontenttype")


async def publish(url: str, topic: str, events: Sequence[Bare]) -> None:
    """Store *events*."""
    connection = apsw.Connection(url.removeprefix("sqlite:///") + "-bare")
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS event (position INTEGER PRIMARY KEY, topic TEXT, id TEXT, source TEXT, "
        "type TEXT, key TEXT, time TEXT, content_type TEXT, data BLOB)"
    )
    for batch in batches(events):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT INTO event (topic, id, source, type, key, time, content_type, data) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            ((topic, *map(attributes.__getitem__, COLUMNS), data) for _, attributes, data in batch),
        )
        connection.execute("COMMIT")
    connection.close()
