"""A SQLAlchemy engine as a participant: its sessions, and the recovery of the same database."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from finality.adapters.borrowed import BorrowingParticipant, Limits
from finality.adapters.postgres.participant import postgres
from finality.adapters.sqlalchemy.session import BorrowedAsyncSession, BorrowedSession
from finality.core.errors import DefinitionError
from finality.ports.environment import Environment

DRIVERS = ("asyncpg", "psycopg", "psycopg_async")


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
        engine: On PostgreSQL, by asyncpg or psycopg. Others find what is in doubt by its URL.
        name: What decisions call it, the same on every node and for ever.
        lock_timeout: How long a statement waits for another transaction's lock.
        witness_kept: How long it is known what became of a branch. See ``postgres``.

    Raises:
        DefinitionError: The engine's database is another one.
    """
    if engine.dialect.name != "postgresql" or engine.dialect.driver not in DRIVERS:
        raise DefinitionError(
            f"sessions of {engine.dialect.name}+{engine.dialect.driver} cannot take part: only those of "
            "postgresql+asyncpg and postgresql+psycopg can; use finality.mariadb or finality.sqlite"
        )
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)

    async def borrow(environment: Environment, limits: Limits) -> BorrowedAsyncSession | BorrowedSession:
        if isinstance(engine, AsyncEngine):
            return await BorrowedAsyncSession.of(engine, limits)
        return await BorrowedSession.of(engine, limits, environment)

    recovery = postgres(url, name=name, witness_kept=witness_kept)
    return BorrowingParticipant(name, recovery, lock_timeout.total_seconds(), borrow)
