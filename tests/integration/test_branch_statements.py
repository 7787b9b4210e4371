"""What a branch makes of a statement's text, before any server sees it."""

from __future__ import annotations

import pytest

from finality.adapters.mariadb import statement as mariadb
from finality.adapters.postgres import statement as postgres

ALLOWED = [
    "SELECT 'COMMIT; PREPARE TRANSACTION'",
    "INSERT INTO note VALUES ('it''s -- no comment')",
    "UPDATE t SET a = 1 /* COMMIT */ WHERE b = 2",
    "UPDATE t SET a = 1 -- ROLLBACK",
    "SELECT outcome FROM finality_branch",
    "SELECT committed, ended FROM orders;",
]


@pytest.mark.parametrize(
    "sql",
    [
        *ALLOWED,
        "SET LOCAL statement_timeout = 5",
        "SET CONSTRAINTS ALL DEFERRED",
        "SELECT pg_advisory_xact_lock(1)",
        "INSERT INTO t VALUES ($q$;COMMIT;$q$)",
        "DECLARE c CURSOR FOR SELECT 1",
        "CREATE TABLE temperature (a int)",
    ],
)
def test_postgresql_takes_it(sql: str) -> None:
    assert postgres.statement_of(sql).refusal == ""


@pytest.mark.parametrize(
    "sql",
    [
        *ALLOWED,
        "SET STATEMENT max_statement_time = 1 FOR SELECT 1",
        r"INSERT INTO t VALUES ('\'; COMMIT')",
        'SELECT "a; b"',
        "SELECT 1 # ; COMMIT",
        "SELECT `a` FROM `releases`",
    ],
)
def test_mariadb_takes_it(sql: str) -> None:
    assert mariadb.statement_of(sql).refusal == ""


@pytest.mark.parametrize(
    "sql, writes",
    [
        ("insert into t values (1)",            True),
        ("  /* a */ Update t set a = 1",        True),
        ("MERGE INTO t USING u ON true",        True),
        ("SELECT 1",                            False),
        ("WITH a AS (DELETE FROM t) SELECT 1",  False),
        ("(SELECT 1)",                          False),
    ],
)  # fmt: skip
def test_postgresql_is_asked_about_what_does_not_surely_write(sql: str, writes: bool) -> None:
    assert postgres.statement_of(sql).writes is writes


@pytest.mark.parametrize(
    "sql, reads",
    [
        ("SELECT * FROM t",                     True),
        ("(select 1)",                          True),
        ("SHOW TABLES",                         True),
        ("SELECT * FROM t FOR UPDATE",          False),
        ("SELECT * FROM t LOCK IN SHARE MODE",  False),
        ("SELECT NEXT VALUE FOR s",             False),
        ("SELECT NEXTVAL(s)",                   False),
        ("INSERT INTO t SELECT 1",              False),
        ("WITH a AS (SELECT 1) SELECT 1",       False),
        ("CALL p()",                            False),
    ],
)  # fmt: skip
def test_mariadb_only_reads_what_surely_does(sql: str, reads: bool) -> None:
    assert mariadb.statement_of(sql).reads is reads
