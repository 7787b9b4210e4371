"""psycopg connections as branches, and the recovery of the same database."""

from __future__ import annotations

from datetime import timedelta

from finality.adapters.postgres.borrowed import PostgresSessions
from finality.adapters.postgres.participant import postgres
from finality.adapters.psycopg.connection import BorrowedAsyncConnection, BorrowedConnection
from finality.ports.environment import Environment


def psycopg(
    url: str,
    *,
    name: str,
    lock_timeout: timedelta = timedelta(seconds=5),
    witness_kept: timedelta = timedelta(days=30),
    is_async: bool = True,
) -> PostgresSessions:
    """Return a PostgreSQL database as a participant whose branches are psycopg connections.

    Args:
        url: ``postgresql://user:password@host:5432/bank``.
        name: What decisions call it, the same on every node and for ever.
        lock_timeout: How long a statement waits for another transaction's lock.
        witness_kept: How long it is known what became of a branch. See ``postgres``.
        is_async: ``(await tx.enlist(bank)).session`` is an ``AsyncConnection``, else a ``Connection``.
    """

    async def borrow(
        environment: Environment, begin_sql: str
    ) -> BorrowedAsyncConnection | BorrowedConnection:
        if is_async:
            return await BorrowedAsyncConnection.of(url, begin_sql)
        return await BorrowedConnection.of(url, begin_sql, environment)

    recovery = postgres(url, name=name, witness_kept=witness_kept)
    return PostgresSessions(recovery, lock_timeout.total_seconds(), borrow)
