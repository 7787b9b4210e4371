"""What the tests of borrowed sessions share: a bank at either server, with sessions of either colour."""

from __future__ import annotations

import contextlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import psycopg
import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import finality
from finality.adapters.borrowed import BorrowingParticipant, SessionBranch
from finality.adapters.system.environment import SystemEnvironment
from finality.testing import MariaDbServer, PostgresServer
from tests.conformance.participants.worlds import id_of

POSTGRES = ("sqlalchemy-asyncpg", "sqlalchemy-psycopg", "sqlalchemy-psycopg-sync", "psycopg", "psycopg-sync")
MARIADB = ("sqlalchemy-asyncmy", "sqlalchemy-pymysql")
KINDS = POSTGRES + MARIADB
OF_SQLALCHEMY = tuple(kind for kind in KINDS if kind.startswith("sqlalchemy"))
BLOCKING = ("sqlalchemy-psycopg-sync", "sqlalchemy-pymysql")


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"
    n: Mapped[int] = mapped_column(primary_key=True)


class Bank(ABC):
    """A participant on a database of its own, and its engine if it has one.

    Attributes:
        swallowed: How it refuses a branch in which a statement has failed.
        doubt: Asks its database for what is prepared.
    """

    swallowed: ClassVar[str]
    doubt: ClassVar[str]
    participant: BorrowingParticipant
    engine: Any = None

    @abstractmethod
    def sql(self, *statements: str) -> list[Any]:
        """Run statements beside it; return the last one's rows."""

    def items(self) -> list[int]:
        return [int(n) for (n,) in self.sql("SELECT n FROM item ORDER BY n")]

    async def begin(self, id: str) -> SessionBranch:
        return await self.participant.begin(id_of(id))

    async def execute(self, branch: SessionBranch, sql: str) -> None:
        await done(branch.session.execute(sql if self.engine is None else text(sql)))

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[BorrowingParticipant]:
        await self.participant.open(SystemEnvironment())
        try:
            yield self.participant
            if self.engine is not None:
                assert self.engine.pool.checkedout() == 0  # Every connection has come back.
        finally:
            await self.participant.close()
            if self.engine is not None:
                await done(self.engine.dispose())


class PostgresBank(Bank):
    swallowed = "bank says no"
    doubt = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"

    def __init__(self, server: PostgresServer, kind: str) -> None:
        self._url = server.database()
        self.sql("CREATE TABLE item (n integer PRIMARY KEY)")
        library, _, driver = kind.partition("-")
        is_async = not kind.endswith("-sync")
        if library == "psycopg":
            self.participant = finality.psycopg(self._url, name="bank", is_async=is_async)
            return
        url = make_url(self._url).set(drivername=f"postgresql+{driver.removesuffix('-sync')}")
        self.engine = (create_async_engine if is_async else create_engine)(url, pool_size=1, max_overflow=0)
        self.participant = finality.sqlalchemy(self.engine, name="bank")

    def sql(self, *statements: str) -> list[Any]:
        with psycopg.connect(self._url, autocommit=True) as connection:
            cursor = connection.execute(";".join(statements).encode())
            return cursor.fetchall() if cursor.description else []


class MariaDbBank(Bank):
    swallowed = r"a statement of branch .* has failed: 'INSERT INTO item.*begin_nested"
    doubt = "XA RECOVER"

    def __init__(self, server: MariaDbServer, kind: str) -> None:
        self._server = server
        url = make_url(server.database())
        self._database = url.database or ""
        self.sql(
            "CREATE TABLE item (n integer PRIMARY KEY) ENGINE = InnoDB",
            "CREATE TABLE notes (n integer) ENGINE = MyISAM",
        )
        url = url.set(drivername=f"mysql+{kind.removeprefix('sqlalchemy-')}")
        self.engine = (
            create_async_engine(url, pool_size=1, max_overflow=0)
            if kind.endswith("asyncmy")
            # PyMySQL would read the system's certificates for each connection.
            else create_engine(url, pool_size=1, max_overflow=0, connect_args={"ssl_disabled": True})
        )
        self.participant = finality.sqlalchemy(self.engine, name="bank")

    def sql(self, *statements: str) -> list[Any]:
        return self._server.sql(*statements, database=self._database)


def bank_of(request: pytest.FixtureRequest) -> Bank:
    """Return a bank of the kind that a fixture is asked for."""
    kind: str = request.param
    if kind in MARIADB:
        return MariaDbBank(request.getfixturevalue("finality_mariadb"), kind)
    return PostgresBank(request.getfixturevalue("finality_postgres"), kind)


async def done(answer: Any) -> Any:
    """Return what a session of either kind answers."""
    return await answer if inspect.isawaitable(answer) else answer
