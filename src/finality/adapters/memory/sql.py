"""The user's own SQL on a private database in memory, beside the rows that we keep in Python."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from finality.ports.store import Rows, StatementRefused

OURS = "finality_"
TABLES = (
    "definition", "delayed", "event", "lock", "node", "outbox", "parked", "reader", "schema", "stream",
    "witness",
)  # fmt: skip
READS = frozenset(
    {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
)
REFUSED = frozenset(
    {sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_SAVEPOINT, sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH}
)  # fmt: skip
PRAGMAS = frozenset(
    {
        "database_list", "defer_foreign_keys", "foreign_key_check", "foreign_key_list", "function_list",
        "index_info", "index_list", "index_xinfo", "table_info", "table_list", "table_xinfo",
    }
)  # fmt: skip

# The connection caches statements by their text. With a comment of ours in it, the user's
# COMMIT is never found in the cache as the one that we ran, unauthorized.
BEGIN = "BEGIN IMMEDIATE /* ours */"
COMMIT = "COMMIT /* ours */"
ABORT = "ROLLBACK /* ours */"
GUARD = "SAVEPOINT finality_turn /* ours */"
KEEP = "RELEASE finality_turn /* ours */"
UNDO = "ROLLBACK TO finality_turn /* ours */"


class Sql:
    """One connection that writes, and beside it a copy of what is committed while a transaction is open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # Readers are on the event loop, the writer may have a thread.
        # This kind of memory can be copied without what is not committed, if that stays in the cache.
        self._writer = self._connection("file:finality?vfs=memdb")
        self._writer.execute("PRAGMA cache_spill = OFF")
        self._writer.execute("PRAGMA foreign_keys = ON")
        for table in TABLES:  # Only so that a statement that would write one is refused, not misunderstood.
            self._writer.execute(f"CREATE TABLE {OURS}{table} (a)")
        self._is_user = self._is_reader = False
        self._writer.set_authorizer(self._authorize_writer)

    def _connection(self, uri: str) -> sqlite3.Connection:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        weakref.finalize(self, connection.close)
        return connection

    @cached_property
    def _copy(self) -> sqlite3.Connection:
        return self._connection(":memory:")

    @property
    def is_open(self) -> bool:
        """Say whether a transaction is open."""
        return self._writer.in_transaction

    def control(self, statement: str) -> None:
        """Begin, end, guard or undo."""
        with self._lock:
            self._writer.execute(statement)

    def write(self, sql: str, parameters: Sequence[Any]) -> Rows:
        """Run one statement of the user's own in the transaction."""
        with self._lock:
            self._is_user = True
            try:
                return _rows(
                    self._writer, sql, parameters, "end the transaction, write a table of Finality's"
                )
            finally:
                self._is_user = False

    def read(self, sql: str, parameters: Sequence[Any]) -> Rows:
        """Run one query of the user's own on what is committed."""
        with self._lock:
            if self._writer.in_transaction:
                self._copy.set_authorizer(None)  # The copying attaches a database, which readers may not.
                self._copy.deserialize(self._writer.serialize())
                self._copy.set_authorizer(self._authorize_reader)
                return _rows(self._copy, sql, parameters, "write")
            self._is_reader = True
            try:
                return _rows(self._writer, sql, parameters, "write")
            finally:
                self._is_reader = False

    def _authorize_writer(self, action: int, first: str | None, second: str | None, *_: str | None) -> int:
        if self._is_reader:
            return self._authorize_reader(action, first)
        if not self._is_user or action in READS:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_PRAGMA:
            return _of_pragma(first)
        is_ours = any((name or "").lower().startswith(OURS) for name in (first, second))
        return sqlite3.SQLITE_DENY if is_ours or action in REFUSED else sqlite3.SQLITE_OK

    def _authorize_reader(self, action: int, first: str | None, *_: str | None) -> int:
        if action == sqlite3.SQLITE_PRAGMA:
            return _of_pragma(first)
        return sqlite3.SQLITE_OK if action in READS else sqlite3.SQLITE_DENY


def _of_pragma(name: str | None) -> int:
    return sqlite3.SQLITE_OK if (name or "").lower() in PRAGMAS else sqlite3.SQLITE_DENY


def _rows(connection: sqlite3.Connection, sql: str, parameters: Sequence[Any], what: str) -> Rows:
    try:
        return Rows(connection.execute(sql, parameters).fetchall())
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_AUTH:
            raise
        raise StatementRefused(
            f"the statement {sql[:60]!r} is refused: it would {what} or change a setting; "
            "the transaction ends when your code returns"
        ) from error
