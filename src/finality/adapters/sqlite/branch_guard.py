"""What the statements of a branch may do: read and write rows whose changes can be recorded."""

from __future__ import annotations

from functools import partial
from typing import Any

import apsw

from finality.adapters.sqlite.guard import OURS, PRAGMAS, READS, Guard
from finality.adapters.sqlite.tables import Tables
from finality.ports.store import Rows

WRITES = frozenset({apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE})
SCHEMA = frozenset({"sqlite_master", "sqlite_schema", "sqlite_temp_master", "sqlite_temp_schema"})
RECORDED = "only changes of rows can be prepared"


class BranchGuard(Guard):
    """Refuses, before it runs, what a changeset would not hold.

    Attributes:
        tables: As they are in the branch.
        touched: Those that the branch may have written, by triggers and foreign keys, too.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        super().__init__(connection)
        # A statement from the cache would pass unseen.
        self._run = partial(connection.execute, can_cache=False)
        self._refusal = ""
        self.tables = Tables(-1, {})
        self.touched: set[str] = set()

    def run(self, sql: str, parameters: tuple[Any, ...]) -> Rows:
        """Run one statement of the user's own.

        Args:
            parameters: For each ``?``, or by number for ``$1``, ``$2``, …

        Raises:
            StatementRefused: It cannot be prepared, or would end the branch.
        """
        self._refusal = ""
        if "$1" in sql and "?" not in sql:
            return self.execute(partial(_numbered, self._run), sql, parameters)
        return self.execute(self._run, sql, parameters)

    def _why(self) -> str:
        return self._refusal

    def _authorize(self, action: int, first: str | None, *_: str | None) -> int:
        if not self._is_user or action in READS:
            return apsw.SQLITE_OK
        self._refusal = self._refusal or self._reason(action, first or "")
        if self._refusal:
            return apsw.SQLITE_DENY
        if action in WRITES:
            self.touched.add(first or "")
        return apsw.SQLITE_OK

    def _reason(self, action: int, first: str) -> str:
        """Return why not; empty if it may."""
        if action == apsw.SQLITE_PRAGMA:
            return "" if first.lower() in PRAGMAS else "it would change a setting"
        if action == apsw.SQLITE_SAVEPOINT:
            return "savepoints belong to the branch; use branch.savepoint()"
        if action == apsw.SQLITE_TRANSACTION:
            return "it would end the branch, which ends with the transaction's block"
        if action not in WRITES or first in SCHEMA:
            return f"it would change the schema, and {RECORDED}; run it outside of the transaction"
        if first.lower().startswith(OURS):
            return "it would write a table of Finality's"
        table = self.tables.by_name.get(first)
        if table is None:
            return f"it would write {first}, and {RECORDED}"
        return f"{table.refusal}; write it outside of the transaction" if table.refusal else ""


def _numbered(run: Any, sql: str, parameters: tuple[Any, ...], **options: Any) -> Any:
    """Bind ``$1`` to the first parameter wherever it stands; SQLite takes it for a name."""
    return run(sql, {str(place): value for place, value in enumerate(parameters, 1)}, **options)
