"""What the user's own SQL may do: anything but end the transaction, change a setting or touch our tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import apsw

from finality.adapters.adopted import TRIGGER
from finality.ports.store import Rows, StatementRefused

OURS = "finality_"
READS = frozenset(
    {apsw.SQLITE_SELECT, apsw.SQLITE_READ, apsw.SQLITE_FUNCTION, apsw.SQLITE_RECURSIVE}
)  # fmt: skip
REFUSED = frozenset(
    {apsw.SQLITE_TRANSACTION, apsw.SQLITE_SAVEPOINT, apsw.SQLITE_ATTACH, apsw.SQLITE_DETACH}
)  # fmt: skip
PRAGMAS = frozenset(
    {
        "database_list", "defer_foreign_keys", "foreign_key_check", "foreign_key_list", "function_list",
        "index_info", "index_list", "index_xinfo", "table_info", "table_list", "table_xinfo",
    }
)  # fmt: skip
"""Pragmas that only look, and one that lasts until the commit."""


class Guard:
    """Refuses, while a statement of the user's is prepared, what would break a promise of ours."""

    def __init__(self, connection: apsw.Connection, *, is_reader: bool = False) -> None:
        self._is_user = False
        self._is_reader = is_reader
        connection.authorizer = self._authorize

    def execute(self, run: Callable[..., apsw.Cursor], sql: str, parameters: Sequence[Any]) -> Rows:
        """Run one statement of the user's own.

        Raises:
            StatementRefused: It would end the transaction, change a setting or write a table of ours.
        """
        self._is_user = True
        try:
            # Statements are cached by their text and flags. With a flag of its own, the user's
            # COMMIT is never found in the cache as the one that we ran, unauthorized.
            return Rows(run(sql, parameters, prepare_flags=apsw.SQLITE_PREPARE_PERSISTENT).fetchall())
        except apsw.AuthError as error:
            raise StatementRefused(f"the statement {sql[:60]!r} is refused: {self._why()}") from error
        except TypeError as error:  # Of a parameter: SQLite keeps numbers, text, bytes and None.
            raise TypeError(
                f"{error}; give each parameter by itself, as in execute(sql, 1, 'ann'), "
                "and as a number, text, bytes or None"
            ) from error
        finally:
            self._is_user = False

    def _why(self) -> str:
        what = "write" if self._is_reader else "end the transaction, write a table of Finality's"
        return f"it would {what} or change a setting; the transaction ends when your code returns"

    def _authorize(
        self, action: int, first: str | None, second: str | None, _: str | None, trigger: str | None
    ) -> int:
        if not self._is_user or action in READS or (trigger or "").startswith(TRIGGER):
            return apsw.SQLITE_OK
        if action == apsw.SQLITE_PRAGMA:
            return apsw.SQLITE_OK if (first or "").lower() in PRAGMAS else apsw.SQLITE_DENY
        if self._is_reader or action in REFUSED:
            return apsw.SQLITE_DENY
        is_ours = any((name or "").lower().startswith(OURS) for name in (first, second))
        return apsw.SQLITE_DENY if is_ours else apsw.SQLITE_OK
