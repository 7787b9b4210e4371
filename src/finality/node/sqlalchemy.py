"""A SQLAlchemy engine as a participant: its sessions, and the recovery of the same database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import URL, Engine
from sqlalchemy.ext.asyncio import AsyncEngine

import finality
from finality.adapters.borrowed import BorrowingParticipant
from finality.adapters.sqlalchemy.session import BorrowedAsyncSession, BorrowedSession
from finality.core.errors import DefinitionError
from finality.ports.environment import Environment

Borrow = Callable[[Environment, str], Awaitable[BorrowedAsyncSession | BorrowedSession]]


def sqlalchemy(
    engine: Engine | AsyncEngine,
    *,
    name: str,
    lock_timeout: timedelta = timedelta(seconds=5),
    witness_kept: timedelta = timedelta(days=30),
) -> BorrowingParticipant:
    """Return the database of a SQLAlchemy engine as a participant whose branches are sessions.

    ``(await tx.enlist(bank)).session`` is an ``AsyncSession`` for an ``AsyncEngine``, and a
    ``Session`` for an ``Engine``.

    Args:
        engine: On PostgreSQL, by asyncpg or psycopg, or on MariaDB, by asyncmy or PyMySQL. Others find
            what is in doubt by its URL.
        name: What decisions call it, the same on every node and for ever.
        lock_timeout: How long a statement waits for another transaction's lock; whole seconds on MariaDB.
        witness_kept: How long it is known what became of a branch. See ``postgres`` and ``mariadb``.

    Raises:
        DefinitionError: The engine's database or driver is another one.
        ModuleNotFoundError: The extra that its recovery needs is not installed.
    """

    async def borrow(environment: Environment, first: str) -> BorrowedAsyncSession | BorrowedSession:
        if isinstance(engine, AsyncEngine):
            return await BorrowedAsyncSession.of(engine, first)
        return await BorrowedSession.of(engine, first, environment)

    options = {"name": name, "lock_timeout": lock_timeout, "witness_kept": witness_kept}
    match engine.dialect.name, engine.dialect.driver:
        case "postgresql", "asyncpg" | "psycopg" | "psycopg_async":
            return _on_postgres(engine.url, borrow, options)
        case "mysql" | "mariadb", "asyncmy" | "pymysql":
            return _on_mariadb(engine.url, borrow, options)
    raise DefinitionError(
        f"sessions of {engine.dialect.name}+{engine.dialect.driver} cannot take part: only those of "
        "postgresql+asyncpg, postgresql+psycopg, mysql+asyncmy and mysql+pymysql can; use finality.sqlite "
        "for a file"
    )


def _on_postgres(url: URL, borrow: Borrow, options: dict[str, Any]) -> BorrowingParticipant:
    recovery = finality.postgres(_rendered(url.set(drivername="postgresql")), **options)
    from finality.adapters.postgres.borrowed import PostgresSessions

    return PostgresSessions(recovery, options["lock_timeout"].total_seconds(), borrow)


def _on_mariadb(url: URL, borrow: Borrow, options: dict[str, Any]) -> BorrowingParticipant:
    known = {key: value for key, value in url.query.items() if key in ("unix_socket", "ssl_ca")}
    recovery = finality.mariadb(_rendered(url.set(drivername="mariadb", query=known)), **options)
    from finality.adapters.mariadb.borrowed import MariaDbSessions

    return MariaDbSessions(recovery, options["lock_timeout"].total_seconds(), borrow)


def _rendered(url: URL) -> str:
    return url.render_as_string(hide_password=False)
