"""MariaDB as the suite's surroundings."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Self

import pytest

import finality
from finality.adapters.mariadb.xid import xid_of
from finality.core.two_phase import Decision
from finality.ports.participant import BranchId
from finality.testing import MariaDbServer
from tests.conformance.participants.worlds import AnyBranch

SCHEMA = (
    "CREATE TABLE item (n integer PRIMARY KEY) ENGINE = InnoDB",
    "DELIMITER //\nCREATE FUNCTION add_item(n integer) RETURNS integer MODIFIES SQL DATA "
    "BEGIN INSERT INTO item VALUES (n); RETURN n; END//\nDELIMITER ",
    "CREATE TABLE notes (n integer PRIMARY KEY) ENGINE = MyISAM",
)


class MariaDbWorld:
    """Fulfils ``World``: a database of its own in a server that is shared."""

    takes_statements = takes_more = can_cut = takes_several = can_commit_by_hand = can_die = True
    recovers = True
    can_defer = False
    refused: tuple[tuple[str, str], ...] = (
        ("COMMIT", "ends the branch"),
        ("  rollback to savepoint a", "ends the branch"),
        ("/* sly */ XA END 'x'", "ends the branch"),
        ("# sly\nROLLBACK", "ends the branch"),
        ("SAVEPOINT a", "branch.savepoint()"),
        ("/*! COMMIT */", "comment"),
        ("SELECT 1; COMMIT", "one statement"),
        ("CREATE TABLE t (a int)", "commit by itself"),
        ("TRUNCATE item", "commit by itself"),
        ("CREATE TEMPORARY TABLE t (a int)", "commit by itself"),
        ("SET @a = 1", "outlives the branch"),
        ("LOCK TABLES item WRITE", "outlives the branch"),
        ("DO GET_LOCK('a', 1)", "outlives the branch"),
        ("INSERT INTO notes VALUES (1)", "table notes has the engine MyISAM"),
        ("UPDATE finality_branch SET outcome = 'commit'", "Finality's"),
    )
    insert_code = 'branch.execute("INSERT INTO item VALUES (?)", 1)'

    def __init__(self, server: MariaDbServer) -> None:
        self.server = server
        self.url = server.database()
        self.database = self.url.rpartition("/")[2]
        self._sql(*SCHEMA)

    @classmethod
    def make(cls, request: pytest.FixtureRequest) -> Self:
        return cls(request.getfixturevalue("finality_mariadb"))

    def _sql(self, *statements: str) -> list[list[str]]:
        return self.server.sql(*statements, database=self.database)

    def participant(self, name: str = "bank", **options: Any) -> Any:
        options = {"url": self.url, "lock_timeout": timedelta(seconds=1), **options}
        return finality.mariadb(name=name, **options)

    def code(self) -> str:
        return f"finality.mariadb({self.url!r}, name='bank')"

    async def insert(self, branch: AnyBranch, n: int) -> None:
        await branch.execute("INSERT INTO item VALUES (?)", n)

    async def look(self, branch: AnyBranch) -> list[int]:
        return [n for (n,) in await branch.execute("SELECT n FROM item ORDER BY n")]

    async def insert_slyly(self, branch: AnyBranch, n: int) -> None:
        await branch.execute("SELECT add_item(?)", n)

    async def insert_late(self, branch: AnyBranch, n: int) -> None:
        raise AssertionError("it has no deferred constraints")

    def items(self) -> list[int]:
        return [int(n) for (n,) in self._sql("SELECT n FROM item ORDER BY n")]

    def prepared(self) -> list[str]:
        return sorted(xid for *_, xid in self._sql("XA RECOVER FORMAT='SQL'"))

    def shows_holding(self, holds: str) -> bool:
        return "row locks" in holds

    def witnesses(self) -> int:
        [(count,)] = self._sql("SELECT count(*) FROM finality_branch")
        return int(count)

    def prepare_foreign(self) -> str:
        self._sql("XA START 'somebody', 'else'", "INSERT INTO item VALUES (-1)", "XA END 'somebody', 'else'",
                  "XA PREPARE 'somebody', 'else'")  # fmt: skip
        return "'somebody','else'"

    def finish_by_hand(self, branch: BranchId, decision: Decision) -> None:
        verb = {Decision.COMMIT: "COMMIT", Decision.ABORT: "ROLLBACK"}[decision]
        self._sql(f"XA {verb} {xid_of(branch)}")

    @contextlib.contextmanager
    def hold_witnesses(self) -> Iterator[Callable[[], bool]]:
        self._sql(
            "CREATE OR REPLACE TRIGGER wait AFTER INSERT ON finality_branch FOR EACH ROW "
            "DO GET_LOCK('gate', 60), RELEASE_LOCK('gate')"
        )
        gate = subprocess.Popen(
            ["mariadb", "--no-defaults", "-NB", "-n", "-h127.0.0.1", f"-P{self.server.port}", "-uroot"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert gate.stdin is not None
        assert gate.stdout is not None
        gate.stdin.write("SELECT GET_LOCK('gate', 0);\n")
        gate.stdin.flush()
        assert gate.stdout.readline() == "1\n"
        waiting = "SELECT count(*) FROM information_schema.processlist WHERE state = 'User lock'"
        try:
            yield lambda: self._sql(waiting) != [["0"]]
        finally:
            gate.communicate()

    def cut(self, branch: AnyBranch) -> None:
        self._sql(f"KILL CONNECTION {branch.session}")

    def kill(self) -> None:
        self.server.kill()
        self.server.start()

    def close(self) -> None:
        for xid in self.prepared():
            self._sql(f"XA ROLLBACK {xid}")
