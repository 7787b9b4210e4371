"""Events and witnesses in a transaction of the user's own commit with it, or are gone with it."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

import finality
from finality.core.errors import DefinitionError
from finality.testing import PostgresServer
from tests.tidy.rules import ROOT


@dataclass(frozen=True)
class OrderPlaced:
    order: str


def store(url: str) -> list[tuple[Any, ...]]:
    """Make the store's tables if they are not there; return what its outbox holds."""
    with finality.open(url) as node:
        rows = node.query(
            "SELECT aggregatetype, aggregateid, type, payload FROM finality_outbox ORDER BY position"
        )
        return [(*row[:3], bytes(row[3])) for row in rows]


PUBLISHED = [("orders", "o-1", "OrderPlaced", b'{"order":"o-1"}')]


def write(joined: finality.Joined) -> None:
    """Write what each of these transactions writes."""
    assert joined.is_first("request-1", "place")
    assert not joined.is_first("request-1", "place")
    joined.publish("orders", OrderPlaced("o-1"), key="o-1")


async def write_async(joined: finality.AsyncJoined) -> None:
    assert await joined.is_first("request-1", "place")
    assert not await joined.is_first("request-1", "place")
    await joined.publish("orders", OrderPlaced("o-1"), key="o-1")


def with_psycopg(url: str) -> None:
    with psycopg.connect(url) as connection:
        write(finality.join(connection))
        connection.rollback()
        write(finality.join(connection))


def with_psycopg_async(url: str) -> None:
    async def story() -> None:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            await write_async(finality.join_async(connection))
            await connection.rollback()
            await write_async(finality.join_async(connection))

    asyncio.run(story())


def with_session(url: str) -> None:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    for end in ("rollback", "commit"):
        with Session(engine) as session:
            write(finality.join(session))
            getattr(session, end)()
    with engine.connect() as connection:
        assert not finality.join(connection).is_first("request-1", "place")
    engine.dispose()


def with_async_session(url: str) -> None:
    async def story() -> None:
        engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:"))
        for end in ("rollback", "commit"):
            async with AsyncSession(engine) as session:
                await write_async(finality.join_async(session))
                await getattr(session, end)()
        async with engine.connect() as connection:
            assert not await finality.join_async(connection).is_first("request-1", "place")
        await engine.dispose()

    asyncio.run(story())


@pytest.mark.slow
@pytest.mark.parametrize("work", [with_psycopg, with_psycopg_async, with_session, with_async_session])
def test_rows_commit_with_the_users_transaction(finality_postgres: PostgresServer, work: Any) -> None:
    url = finality_postgres.database()
    store(url)
    work(url)

    assert store(url) == PUBLISHED


SQLITE = """
import sqlite3, sys, finality
from sqlalchemy import create_engine
from tests.integration.test_joining import write

connection = sqlite3.connect(sys.argv[1])
write(finality.join(connection))
connection.rollback()
write(finality.join(connection))
connection.commit()
connection.close()
with create_engine(f"sqlite:///{sys.argv[1]}").begin() as connection:
    assert not finality.join(connection).is_first("request-1", "place")
"""


@pytest.mark.slow
def test_rows_commit_with_a_transaction_of_sqlite3_in_another_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shop.db"
    store(url)
    subprocess.run(
        [sys.executable, "-c", SQLITE, str(tmp_path / "shop.db")], cwd=ROOT, check=True, timeout=60
    )

    assert store(url) == PUBLISHED


def test_a_file_that_finality_has_open_in_this_process_is_refused(tmp_path: Path) -> None:
    with finality.open(f"sqlite:///{tmp_path}/shop.db") as node:
        assert node.query("SELECT count(*) FROM finality_outbox") == [(0,)]
        connection = sqlite3.connect(tmp_path / "shop.db")
        with pytest.raises(DefinitionError, match="drop the other's locks"):
            finality.join(connection)
        engine = create_engine(f"sqlite:///{tmp_path}/shop.db")
        with pytest.raises(DefinitionError, match="drop the other's locks"):
            finality.join(Session(engine))
    connection.close()  # Only now: it would have taken the node's locks along.


def test_what_commits_by_itself_cannot_be_joined(finality_postgres: PostgresServer) -> None:
    alone = sqlite3.connect(":memory:", isolation_level=None)
    with pytest.raises(DefinitionError, match="commits each statement by itself"):
        finality.join(alone)
    alone.close()
    other = psycopg.connect(finality_postgres.url, autocommit=True)
    with pytest.raises(DefinitionError, match="commits each statement by itself"):
        finality.join(other)
    other.close()


def test_what_is_no_session_cannot_be_joined() -> None:
    with pytest.raises(DefinitionError, match="str cannot be joined"):
        finality.join("postgresql://")
    with pytest.raises(DefinitionError, match="int cannot be joined"):
        finality.join_async(1)
