"""PostgreSQL again, worked on with sessions of the user's own library."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import finality
from finality.adapters.borrowed import state_of
from finality.core.errors import Conflict, Refused
from tests.conformance.participants.postgres_world import PostgresWorld
from tests.conformance.participants.worlds import AnyBranch

LOCK_TIMEOUT = timedelta(seconds=0.3)


@contextlib.contextmanager
def in_our_words() -> Iterator[None]:
    """Tell what the suite expects; the user hears the library's own error."""
    try:
        yield
    except (DBAPIError, psycopg.Error) as error:
        raise Refused(str(error)) if state_of(error).startswith("23") else Conflict(str(error)) from error


class SqlAlchemyWorld(PostgresWorld):
    """Fulfils ``World`` with an ``AsyncEngine`` on asyncpg."""

    takes_statements = False

    def participant(self, name: str = "bank", **options: Any) -> Any:
        return finality.sqlalchemy(self._engine(), name=name, lock_timeout=LOCK_TIMEOUT, **options)

    def _engine(self) -> Any:
        return create_async_engine(self.url.replace("postgresql:", "postgresql+asyncpg:"), poolclass=NullPool)

    def code(self) -> str:
        engine = "__import__('sqlalchemy.ext.asyncio').ext.asyncio.create_async_engine"
        url = self.url.replace("postgresql:", "postgresql+asyncpg:")
        return f"finality.sqlalchemy({engine}({url!r}), name='bank')"

    async def insert(self, branch: AnyBranch, n: int) -> None:
        with in_our_words():
            await branch.session.execute(text("INSERT INTO item VALUES (:n)"), {"n": n})

    insert_code = "branch.session.execute(__import__('sqlalchemy').text('INSERT INTO item VALUES (1)'))"

    async def look(self, branch: AnyBranch) -> list[int]:
        return [n for (n,) in await branch.session.execute(text("SELECT n FROM item ORDER BY n"))]

    async def insert_late(self, branch: AnyBranch, n: int) -> None:
        await branch.session.execute(text("INSERT INTO part VALUES (:n)"), {"n": n})

    def cut(self, branch: AnyBranch) -> None:
        self._sql(f"SELECT pg_terminate_backend({branch._borrowed._driver.get_server_pid()}, 5000)")


class PsycopgWorld(PostgresWorld):
    """Fulfils ``World`` with a ``psycopg.Connection``, which blocks."""

    takes_statements = False

    def participant(self, name: str = "bank", **options: Any) -> Any:
        return finality.psycopg(self.url, name=name, is_async=False, lock_timeout=LOCK_TIMEOUT, **options)

    def code(self) -> str:
        return f"finality.psycopg({self.url!r}, name='bank')"

    async def insert(self, branch: AnyBranch, n: int) -> None:
        with in_our_words():
            await asyncio.to_thread(branch.session.execute, "INSERT INTO item VALUES (%s)", (n,))

    insert_code = 'branch.session.execute("INSERT INTO item VALUES (1)")'

    async def look(self, branch: AnyBranch) -> list[int]:
        return [n for (n,) in branch.session.execute("SELECT n FROM item ORDER BY n")]

    async def insert_late(self, branch: AnyBranch, n: int) -> None:
        branch.session.execute("INSERT INTO part VALUES (%s)", (n,))

    def cut(self, branch: AnyBranch) -> None:
        self._sql(f"SELECT pg_terminate_backend({branch.session.info.backend_pid}, 5000)")
