"""The servers again, worked on with sessions of the user's own library."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import finality
from finality.adapters.postgres.borrowed import state_of
from finality.core.errors import Conflict, Refused
from tests.conformance.participants.mariadb_world import MariaDbWorld
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


class EngineWorld:
    """What is the same on both servers for an ``AsyncEngine``."""

    takes_statements = recovers = False
    url: str

    def participant(self, name: str = "bank", **options: Any) -> Any:
        url = make_url(self.url)
        driver = {"postgresql": "asyncpg", "mariadb": "asyncmy"}[url.drivername]
        engine = create_async_engine(url.set(drivername=f"{url.drivername}+{driver}"), poolclass=NullPool)
        return finality.sqlalchemy(engine, name=name, lock_timeout=LOCK_TIMEOUT, **options)

    async def insert(self, branch: AnyBranch, n: int) -> None:
        with in_our_words():
            await branch.session.execute(text("INSERT INTO item VALUES (:n)"), {"n": n})

    async def look(self, branch: AnyBranch) -> list[int]:
        return [n for (n,) in await branch.session.execute(text("SELECT n FROM item ORDER BY n"))]


class PostgresEngineWorld(EngineWorld, PostgresWorld):
    """Fulfils ``World`` by asyncpg."""

    async def insert_late(self, branch: AnyBranch, n: int) -> None:
        await branch.session.execute(text("INSERT INTO part VALUES (:n)"), {"n": n})

    def cut(self, branch: AnyBranch) -> None:
        self._sql(f"SELECT pg_terminate_backend({branch._borrowed.driver.get_server_pid()}, 5000)")


class MariaDbEngineWorld(EngineWorld, MariaDbWorld):
    """Fulfils ``World`` by asyncmy."""

    def cut(self, branch: AnyBranch) -> None:
        self._sql(f"KILL CONNECTION {branch._session.thread}")


class PsycopgWorld(PostgresWorld):
    """Fulfils ``World`` with a ``psycopg.Connection``, which blocks."""

    takes_statements = recovers = False

    def participant(self, name: str = "bank", **options: Any) -> Any:
        return finality.psycopg(self.url, name=name, is_async=False, lock_timeout=LOCK_TIMEOUT, **options)

    async def insert(self, branch: AnyBranch, n: int) -> None:
        with in_our_words():
            await asyncio.to_thread(branch.session.execute, "INSERT INTO item VALUES (%s)", (n,))

    async def look(self, branch: AnyBranch) -> list[int]:
        return [n for (n,) in branch.session.execute("SELECT n FROM item ORDER BY n")]

    async def insert_late(self, branch: AnyBranch, n: int) -> None:
        branch.session.execute("INSERT INTO part VALUES (%s)", (n,))

    def cut(self, branch: AnyBranch) -> None:
        self._sql(f"SELECT pg_terminate_backend({branch.session.info.backend_pid}, 5000)")
