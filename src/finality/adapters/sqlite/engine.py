"""The connection that writes: how the writer begins, commits and aborts on SQLite."""

from __future__ import annotations

from pathlib import Path

import apsw

from finality.adapters.group_commit import Busy, CommitFailed
from finality.adapters.sqlite.transaction import SqliteTransaction
from finality.core.errors import Unavailable

CHECKPOINT_PAGES = 4_000  # 16 MiB of write-ahead log: fewer syncs of the main file than at 1,000.
READ_BUSY_MILLISECONDS = 5_000  # A reader waits only while the file recovers after a crash.


def connect(path: Path | str, *, is_reader: bool = False) -> apsw.Connection:
    """Open a database so that a commit is on disk when it returns.

    Durable means a write-ahead log with ``synchronous=FULL``: it is flushed at each commit.

    Raises:
        Unavailable: The file cannot be opened, or is no database.
    """
    try:
        connection = apsw.Connection(str(path))
        connection.set_busy_timeout(READ_BUSY_MILLISECONDS)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        if is_reader:
            connection.execute("PRAGMA query_only = ON")
    except (apsw.CantOpenError, apsw.NotADBError, apsw.IOError, apsw.BusyError) as error:
        raise Unavailable(
            f"cannot open {path}: {error}; check that its folder exists, may be written and that it is "
            "a SQLite database"
        ) from error
    return connection


class SqliteEngine:
    """Fulfils ``adapters.group_commit.Engine``."""

    def __init__(self, connection: apsw.Connection, transaction: SqliteTransaction) -> None:
        self.transaction = transaction
        self._connection = connection
        self.keep_turn = transaction.keep_turn
        self.undo_turn = transaction.undo_turn
        # The writer waits by itself when another process has the turn.
        connection.set_busy_timeout(0)

    def begin(self) -> None:
        """Take the write turn of all processes."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except apsw.BusyError as error:
            raise Busy from error
        self.transaction.start()

    def commit(self) -> None:
        """Make everything durable."""
        try:
            self._connection.execute("COMMIT")
        except (apsw.ConstraintError, apsw.FullError, apsw.BusyError) as error:
            # Deferred constraints are checked now, and a full disk is found before the commit
            # record is written: the transaction is still open, and nothing of it is durable.
            raise CommitFailed(str(error)) from _for_the_caller(error)

    def abort(self) -> None:
        """Leave nothing of the transaction."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self.transaction.start()


def _for_the_caller(error: apsw.Error) -> Exception:
    if isinstance(error, apsw.ConstraintError):
        return error
    return Unavailable(f"nothing was written: {error}; free some disk space, it is tried again")
