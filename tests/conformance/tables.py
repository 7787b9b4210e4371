"""Tables of a user's, with rules that a turn can break, and work on them."""

from __future__ import annotations

import sqlite3
from typing import Any

import apsw
import asyncpg

from finality.adapters.postgres.home import PostgresHome
from tests.conformance.worlds import AnyHome, do, execute

CONSTRAINT = (apsw.ConstraintError, sqlite3.IntegrityError, asyncpg.IntegrityConstraintViolationError)


async def table(home: AnyHome) -> None:
    """Make the tables that the tests here write."""
    how = "" if isinstance(home, PostgresHome) else "ON CONFLICT ROLLBACK"
    await do(home, execute("CREATE TABLE item (n INTEGER PRIMARY KEY, name TEXT)"))
    await do(home, execute(f"CREATE TABLE strict (n INTEGER PRIMARY KEY {how})"))
    await do(
        home,
        execute('CREATE TABLE part ("of" INTEGER REFERENCES item (n) DEFERRABLE INITIALLY DEFERRED)'),
    )


async def items(home: AnyHome) -> list[int]:
    return [n for (n,) in await home.query("SELECT n FROM item ORDER BY n")]


def insert(n: int) -> Any:
    return execute("INSERT INTO item (n) VALUES (?)", n)


ABORTING = "INSERT INTO strict VALUES (1)"
FAILING = "INSERT INTO item (n) VALUES (0)"
