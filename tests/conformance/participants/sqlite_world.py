"""A SQLite file as the suite's surroundings."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import pytest

import finality
from finality.core.two_phase import Decision
from finality.ports.participant import BranchId
from tests.conformance.participants.worlds import AnyBranch
from tests.integration.foreign import client

SCHEMA = (
    "CREATE TABLE item (n INTEGER PRIMARY KEY)",
    "CREATE TABLE part (id INTEGER PRIMARY KEY, item INTEGER REFERENCES item DEFERRABLE INITIALLY DEFERRED)",
)


class SqliteWorld:
    """Fulfils ``World``: a file, and SQLite in another process to look at it."""

    takes_statements = takes_more = can_cut = can_defer = recovers = True
    takes_several = can_commit_by_hand = can_die = False
    refused: tuple[tuple[str, str], ...] = (
        ("COMMIT", "end the branch"),
        ("-- sly\nROLLBACK", "end the branch"),
        ("SAVEPOINT a", "branch.savepoint()"),
        ("CREATE TEMP TABLE t (a int)", "change the schema"),
        ("DROP TABLE item", "change the schema"),
        ("PRAGMA foreign_keys = OFF", "change a setting"),
        ("UPDATE finality_branch SET outcome = 'commit'", "Finality's"),
    )

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bank.db"
        self._sql(*SCHEMA)

    @classmethod
    def make(cls, request: pytest.FixtureRequest) -> Self:
        return cls(request.getfixturevalue("tmp_path"))

    def _sql(self, *statements: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        with client(self.path) as connection:
            for statement in statements:
                rows = connection.execute(statement)
        return rows

    def participant(self, name: str = "bank") -> Any:
        return finality.sqlite(self.path, name=name, lock_timeout=timedelta(seconds=0.3))

    def code(self) -> str:
        return f"finality.sqlite({str(self.path)!r}, name='bank')"

    async def insert(self, branch: AnyBranch, n: int) -> None:
        await branch.execute("INSERT INTO item VALUES ($1)", n)

    insert_code = 'branch.execute("INSERT INTO item VALUES ($1)", 1)'

    async def look(self, branch: AnyBranch) -> list[int]:
        return [n for (n,) in await branch.execute("SELECT n FROM item ORDER BY n")]

    async def insert_late(self, branch: AnyBranch, n: int) -> None:
        await branch.execute("INSERT INTO part VALUES ($1, $1)", n)

    def items(self) -> list[int]:
        return [n for (n,) in self._sql("SELECT n FROM item ORDER BY n")]

    def prepared(self) -> list[str]:
        has_table = self._sql("SELECT 1 FROM sqlite_schema WHERE name = 'finality_intent'")
        return [name for (name,) in self._sql("SELECT branch FROM finality_intent")] if has_table else []

    def shows_holding(self, holds: str) -> bool:
        return holds == "every write to bank.db"

    def prepare_foreign(self) -> str:
        raise NotImplementedError("a SQLite file has no prepared transactions but ours")

    def finish_by_hand(self, branch: BranchId, decision: Decision) -> None:
        assert decision is Decision.ABORT, "nobody can apply an intent by hand"
        self._sql(f"DELETE FROM finality_intent WHERE branch = '{branch}'")

    def hold_witnesses(self) -> contextlib.AbstractContextManager[Callable[[], bool]]:
        raise NotImplementedError("a SQLite file has no server that could wait")

    def cut(self, branch: AnyBranch) -> None:
        branch._seat._disconnect()

    def kill(self) -> None:
        raise NotImplementedError("a SQLite file has no server")

    def close(self) -> None:
        """The folder is the test's."""
