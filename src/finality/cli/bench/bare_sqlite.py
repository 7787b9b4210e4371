"""Bare SQLite as a queue: rows into a table, a durable commit for each batch."""

from __future__ import annotations

from collections.abc import Sequence

import apsw

BATCH = 500


async def publish(url: str, topic: str, events: Sequence[tuple[str, bytes]]) -> None:
    """Store *events*."""
    connection = apsw.Connection(url.removeprefix("sqlite:///") + "-bare")
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS event (position INTEGER PRIMARY KEY, topic TEXT, key TEXT, data BLOB)"
    )
    for begin in range(0, len(events), BATCH):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT INTO event (topic, key, data) VALUES (?, ?, ?)",
            ((topic, key, data) for key, data in events[begin : begin + BATCH]),
        )
        connection.execute("COMMIT")
    connection.close()
