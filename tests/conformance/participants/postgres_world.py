"""PostgreSQL as the suite's surroundings."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Self

import psycopg
import pytest
from psycopg import sql

import finality
from finality.core.two_phase import Decision
from finality.ports.participant import BranchId
from finality.testing import PostgresServer
from tests.conformance.participants.worlds import AnyBranch

SCHEMA = (
    "CREATE TABLE item (n integer PRIMARY KEY)",
    "CREATE FUNCTION add_item(n integer) RETURNS void LANGUAGE sql AS 'INSERT INTO item VALUES (n)'",
    "CREATE TABLE part (item integer REFERENCES item DEFERRABLE INITIALLY DEFERRED)",
)
DATABASE = "participants"
GATE = 4711  # An advisory lock that the witness's trigger waits for.


class PostgresWorld:
    """Fulfils ``World``: a database of its own in a server that is shared."""

    fixture = "finality_postgres"
    takes_statements = takes_more = can_cut = can_defer = takes_several = can_commit_by_hand = can_die = True
    recovers = True
    refused: tuple[tuple[str, str], ...] = (
        ("COMMIT", "ends the branch"),
        ("  rollback to savepoint a", "ends the branch"),
        ("/* sly */ PREPARE TRANSACTION 'x'", "ends the branch"),
        ("-- sly\nABORT", "ends the branch"),
        ("SAVEPOINT a", "branch.savepoint()"),
        ("LISTEN news", "cannot be prepared"),
        ("NOTIFY news", "cannot be prepared"),
        ("SELECT pg_notify('news', '')", "cannot be prepared"),
        ("CREATE TEMP TABLE t (a int)", "cannot be prepared"),
        ("CREATE  LOCAL\nTEMPORARY TABLE t (a int)", "cannot be prepared"),
        ("SELECT 1 AS a INTO TEMP t", "cannot be prepared"),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "cannot be prepared"),
        ("SELECT pg_export_snapshot()", "cannot be prepared"),
        ("SET search_path = elsewhere", "outlives the branch"),
        ("SELECT pg_advisory_lock(1)", "outlives the branch"),
        ("COPY item FROM STDIN", "COPY"),
        ("UPDATE finality_branch SET outcome = 'commit'", "Finality's"),
    )

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        is_there = server.sql(f"SELECT FROM pg_database WHERE datname = '{DATABASE}'")
        self.url = server.url_of(DATABASE) if is_there else server.database(DATABASE)
        # A new schema costs a tenth of a new database.
        self._sql("DROP SCHEMA public CASCADE", "CREATE SCHEMA public", *SCHEMA)

    @classmethod
    def make(cls, request: pytest.FixtureRequest) -> Self:
        return cls(request.getfixturevalue(cls.fixture))

    def _sql(self, *statements: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def participant(self, name: str = "bank", **options: Any) -> Any:
        options = {"url": self.url, "lock_timeout": timedelta(seconds=0.3), **options}
        return finality.postgres(name=name, **options)

    def code(self) -> str:
        return f"finality.postgres({self.url!r}, name='bank')"

    async def insert(self, branch: AnyBranch, n: int) -> None:
        await branch.execute("INSERT INTO item VALUES ($1)", n)

    insert_code = 'branch.execute("INSERT INTO item VALUES ($1)", 1)'

    async def look(self, branch: AnyBranch) -> list[int]:
        return [n for (n,) in await branch.execute("SELECT n FROM item ORDER BY n")]

    async def insert_slyly(self, branch: AnyBranch, n: int) -> None:
        await branch.execute("SELECT add_item($1)", n)

    async def insert_late(self, branch: AnyBranch, n: int) -> None:
        await branch.execute("INSERT INTO part VALUES ($1)", n)

    def items(self) -> list[int]:
        return [int(n) for (n,) in self._sql("SELECT n FROM item ORDER BY n")]

    def prepared(self) -> list[str]:
        query = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() ORDER BY gid"
        return [gid for (gid,) in self._sql(query)]

    def shows_holding(self, holds: str) -> bool:
        return holds == "row locks on item"

    def witnesses(self) -> int:
        [(count,)] = self._sql("SELECT count(*) FROM finality_branch")
        return int(count)

    def prepare_foreign(self) -> str:
        self._sql("BEGIN; INSERT INTO item VALUES (-1); PREPARE TRANSACTION 'somebody:else'")
        return "somebody:else"

    def finish_by_hand(self, branch: BranchId, decision: Decision) -> None:
        verb = {Decision.COMMIT: "COMMIT", Decision.ABORT: "ROLLBACK"}[decision]
        self._sql(f"{verb} PREPARED '{branch}'")

    @contextlib.contextmanager
    def hold_witnesses(self) -> Iterator[Callable[[], bool]]:
        self._sql(
            "CREATE OR REPLACE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN new; END $$",
            "CREATE OR REPLACE TRIGGER wait AFTER INSERT ON finality_branch "
            "FOR EACH ROW EXECUTE FUNCTION wait()",
        )
        with psycopg.connect(self.url, autocommit=True) as gate:
            gate.execute(f"SELECT pg_advisory_lock({GATE})".encode())
            waiting = f"SELECT count(*) FROM pg_locks WHERE objid = {GATE} AND NOT granted"
            yield lambda: self._sql(waiting) != [(0,)]

    def cut(self, branch: AnyBranch) -> None:
        self._sql(f"SELECT pg_terminate_backend({branch.session}, 5000)")

    def kill(self) -> None:
        self.server.kill()
        self.server.start()

    def close(self) -> None:
        for name in self.prepared():
            self._sql(sql.SQL("ROLLBACK PREPARED {}").format(name).as_string())
