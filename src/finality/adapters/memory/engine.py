"""How the writer begins, commits and aborts in memory."""

from __future__ import annotations

import sqlite3
import time

from finality.adapters.engine import Busy, CommitFailed
from finality.adapters.memory import sql
from finality.adapters.memory.database import MemoryDatabase
from finality.adapters.memory.transaction import MemoryTransaction


class MemoryEngine:
    """Fulfils ``adapters.engine.Engine``."""

    def __init__(self, database: MemoryDatabase, transaction: MemoryTransaction) -> None:
        self.transaction = transaction
        self.is_stale = False
        self._database = database
        self.keep_turn = transaction.keep_turn
        self.undo_turn = transaction.undo_turn

    def begin(self, *, is_guarded: bool = False) -> None:
        """Take the write turn of all stores of the database."""
        database = self._database
        with database.lock:
            if database.holder is not None:
                raise Busy
            database.holder = self
        self.transaction.start(is_single=is_guarded)

    def wait(self, seconds: float) -> None:
        """Wait so long: whoever has the turn tells nobody."""
        time.sleep(seconds)

    def commit(self) -> None:
        """Make everything visible to all."""
        database = self._database
        if self.transaction.has_begun_sql:
            try:
                database.sql.control(sql.COMMIT)
            except sqlite3.IntegrityError as error:
                raise CommitFailed(str(error)) from error
        database.apply()
        database.holder = None

    def keep_house(self) -> None:
        """Do nothing: nothing is left behind."""

    def abort(self) -> None:
        """Leave nothing of the transaction."""
        database = self._database
        if database.holder is not self:
            return
        if self.transaction.has_begun_sql and database.sql.is_open:
            database.sql.control(sql.ABORT)
        database.drop()
        database.holder = None

    def close(self) -> None:
        """Do nothing: nothing runs beside it."""

    def explain(self, problem: BaseException) -> BaseException:
        """Return the problem: memory is never out of reach."""
        return problem
