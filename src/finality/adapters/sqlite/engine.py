"""The connection that writes: how the writer begins, commits and aborts on SQLite."""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from finality.adapters.engine import Busy, CommitFailed
from finality.adapters.sqlite.connection import explain, identity
from finality.adapters.sqlite.log import WriteAheadLog
from finality.adapters.sqlite.transaction import SqliteTransaction
from finality.adapters.sqlite.turnstile import Turnstile
from finality.core.errors import Unavailable
from finality.ports.environment import Environment


class SqliteEngine:
    """Fulfils ``adapters.engine.Engine``."""

    def __init__(
        self,
        connection: apsw.Connection,
        transaction: SqliteTransaction,
        path: Path | str,
        environment: Environment,
    ) -> None:
        self.transaction = transaction
        self.is_stale = False
        self._connection = connection
        self._path = os.path.abspath(path)
        self._file = identity(self._path)
        self.keep_turn = transaction.keep_turn
        self.undo_turn = transaction.undo_turn
        self.explain = explain
        self._log = WriteAheadLog(connection, path)
        # On one thread, as in a simulation, nobody could leave while another waits.
        self._turnstile = Turnstile(f"{self._path}-wal") if environment.is_threaded else None
        # The writer waits by itself when another process has the turn.
        connection.set_busy_timeout(0)

    def begin(self, *, is_guarded: bool = False) -> None:
        """Take the write turn of all processes."""
        # A commit to a file that has no name any more would be lost with this process.
        if identity(self._path) != self._file:
            self._leave()
            raise Unavailable(
                f"nothing was written: {self._path} was deleted or replaced while it was open; "
                "restart the node"
            )
        if self._turnstile is not None and not self._turnstile.enter():
            raise Busy
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except apsw.BusyError as error:
            raise Busy from error  # Somebody has not come through the turnstile: we stay first.
        except apsw.Error as error:
            self._leave()
            raise explain(error) from error
        self._log.begun()
        self.transaction.start(is_guarded=is_guarded)

    def wait(self, seconds: float) -> None:
        """Wait for our turn among the processes that write the file."""
        assert self._turnstile is not None, "who is driven in line never waits"
        self._turnstile.wait(seconds)

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
        # While the log is copied nobody may append to it, or it would not begin anew.
        if not self._log.is_long:
            self._leave()

    def keep_house(self) -> None:
        """Copy the log into the file if it is long, which takes several flushes."""
        if self._log.is_long:  # Otherwise we may stand in line: who asks for a scope's turn comes by here.
            try:
                self._log.shorten()
            finally:
                self._leave()

    def abort(self) -> None:
        """Leave nothing of the transaction."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        finally:
            self._leave()
        self.transaction.lose_all()

    def close(self) -> None:
        """Stand in no line any more."""
        if self._turnstile is not None:
            self._turnstile.close()

    def _leave(self) -> None:
        if self._turnstile is not None:
            self._turnstile.leave()
