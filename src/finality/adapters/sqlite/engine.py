"""The connection that writes: how the writer begins, commits and aborts on SQLite."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import apsw

from finality.adapters.engine import Busy, CommitFailed
from finality.adapters.sqlite.connection import explain, identity
from finality.adapters.sqlite.log_file import LogFile
from finality.adapters.sqlite.transaction import SqliteTransaction
from finality.core.errors import Unavailable

log = logging.getLogger("finality.store")

CHECKPOINT_PAGES = 4_000  # 16 MiB of write-ahead log: fewer syncs of the main file than at 1,000.
RESTART_PAGES = 16_000  # 64 MiB: readers that overlap without a gap have kept it growing.
RESTART_MILLISECONDS = 100  # Our readers' looks are far shorter, so that one gap is enough.


class SqliteEngine:
    """Fulfils ``adapters.engine.Engine``."""

    def __init__(self, connection: apsw.Connection, transaction: SqliteTransaction, path: Path | str) -> None:
        self.transaction = transaction
        self.is_stale = False
        self._connection = connection
        self._path = os.path.abspath(path)
        self._file = identity(self._path)
        self.keep_turn = transaction.keep_turn
        self.undo_turn = transaction.undo_turn
        self.explain = explain
        self._log_file = LogFile(self._path, int(connection.pragma("page_size")))
        self._pages = 0  # Of the log, at our last commit.
        self._noted_pages = 2 * RESTART_PAGES
        # The writer waits by itself when another process has the turn.
        connection.set_busy_timeout(0)
        connection.set_wal_hook(self._checkpoint)

    def begin(self, *, is_guarded: bool = False) -> None:
        """Take the write turn of all processes."""
        # A commit to a file that has no name any more would be lost with this process.
        if identity(self._path) != self._file:
            raise Unavailable(
                f"nothing was written: {self._path} was deleted or replaced while it was open; "
                "restart the node"
            )
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except apsw.BusyError as error:
            raise Busy from error
        except apsw.Error as error:
            raise explain(error) from error
        if self._pages > self._log_file.enough_pages:
            self._log_file.lengthen(self._pages)
        self.transaction.start(is_guarded=is_guarded)

    def commit(self) -> None:
        """Make everything durable."""
        try:
            self._connection.execute("COMMIT")
        except apsw.ConstraintError as error:
            # Deferred constraints are checked now; the transaction is still open.
            raise CommitFailed(str(error)) from error
        except (apsw.FullError, apsw.BusyError) as error:
            # Both are found before the commit record is written.
            raise explain(error) from error

    def abort(self) -> None:
        """Leave nothing of the transaction."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self.transaction.lose_all()

    def _checkpoint(self, connection: apsw.Connection, database: str, pages: int) -> int:
        """Copy the write-ahead log into the file, after a commit that made it long."""
        self._pages = pages
        if pages < CHECKPOINT_PAGES:
            return apsw.SQLITE_OK
        try:
            if pages < RESTART_PAGES:
                connection.wal_checkpoint(database, apsw.SQLITE_CHECKPOINT_PASSIVE)
            else:
                connection.set_busy_timeout(RESTART_MILLISECONDS)
                connection.wal_checkpoint(database, apsw.SQLITE_CHECKPOINT_RESTART)
        except apsw.Error as error:
            # The commit itself is durable and must not look as if it had failed; the next one tries
            # again. That somebody else is at it, or reads, is worth a word only when it goes on.
            if pages >= self._noted_pages or not isinstance(error, apsw.BusyError):
                self._noted_pages = 2 * pages
                log.warning(
                    "the write-ahead log of %s has %d pages: %s; look for a process that reads for long",
                    self._path, pages, error,
                )  # fmt: skip
        finally:
            connection.set_busy_timeout(0)
        return apsw.SQLITE_OK
