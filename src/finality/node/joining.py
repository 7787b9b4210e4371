"""Events and witnesses in a transaction of the user's own: they commit with it, or not at all.

The transaction may be SQLAlchemy's, psycopg's or ``sqlite3``'s, in a database that is a store of
Finality's: the home, or one of ``stores=``.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from finality.adapters.msgspec.codec import JsonCodec
from finality.core.errors import DefinitionError
from finality.core.placement import partition_of
from finality.patterns.outbox import published
from finality.ports.events import SHARES, Published
from finality.ports.store import JOINED

PUBLISH = (
    "INSERT INTO finality_outbox (id, aggregatetype, aggregateid, type, payload, headers, at, share) "
    "VALUES ({}, {}, {}, {}, {}, {}, {}, {})"
)
DELAY = (
    "INSERT INTO finality_delayed (topic, key, type, data, headers, due_at) VALUES ({}, {}, {}, {}, {}, {})"
)
TESTIFY = (
    "INSERT INTO finality_witness (transaction_id, branch, operation, answer, at) "
    "VALUES ({}, {}, {}, {}, {}) ON CONFLICT DO NOTHING"
)

PLACEHOLDERS: dict[str, Callable[[int], str]] = {
    "qmark": lambda place: "?",
    "format": lambda place: "%s",
    "pyformat": lambda place: "%s",
    "numeric_dollar": lambda place: f"${place}",
}

_codec = JsonCodec()


class Joined:
    """What is written into a transaction of the user's own."""

    def __init__(self, execute: Callable[[str, tuple[Any, ...]], int], style: str) -> None:
        self._execute = execute
        self._style = style

    def publish(
        self,
        topic: str,
        event: Any,
        *,
        key: str = "",
        delay: timedelta | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Put *event* into the outbox, in the transaction's commit. See ``SyncTx.publish``."""
        row = published(_codec, topic, event, key=key, headers=headers)
        self._execute(*inserted(self._style, row, delay))

    def is_first(self, id: str, operation: str) -> bool:
        """Leave a witness that *operation* ran for *id*; False when there is one: it ran before.

        Whoever asks at the same time waits until this transaction has ended.
        """
        return self._execute(*testified(self._style, id, operation)) == 1


class AsyncJoined:
    """The same for asyncio."""

    def __init__(self, execute: Callable[[str, tuple[Any, ...]], Awaitable[int]], style: str) -> None:
        self._execute = execute
        self._style = style

    async def publish(
        self,
        topic: str,
        event: Any,
        *,
        key: str = "",
        delay: timedelta | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Put *event* into the outbox, in the transaction's commit. See ``SyncTx.publish``."""
        row = published(_codec, topic, event, key=key, headers=headers)
        await self._execute(*inserted(self._style, row, delay))

    async def is_first(self, id: str, operation: str) -> bool:
        """Leave a witness that *operation* ran for *id*; False when there is one: it ran before.

        Whoever asks at the same time waits until this transaction has ended; in a SQLite file that has a
        branch in doubt it is refused until that is decided, as every other write.
        """
        return await self._execute(*testified(self._style, id, operation)) == 1


def join(session: Any) -> Joined:
    """Return what writes events and witnesses into the transaction that *session* is in, or begins.

    Args:
        session: A SQLAlchemy ``Session`` or ``Connection``, a ``psycopg.Connection`` or a
            ``sqlite3.Connection``.

    Raises:
        DefinitionError: It is none of these, or commits each statement by itself.
    """
    match library_of(session):
        case "sqlalchemy.Session":

            def in_session(sql: str, values: tuple[Any, ...]) -> int:
                return int(session.connection().exec_driver_sql(sql, values).rowcount)

            return Joined(in_session, style_of(session.get_bind()))
        case "sqlalchemy.Connection":
            style = style_of(session.engine)
            return Joined(lambda sql, values: session.exec_driver_sql(sql, values).rowcount, style)
        case "psycopg.Connection":
            check_psycopg(session)
            return Joined(lambda sql, values: session.execute(sql, values).rowcount, "format")
        case "sqlite3.Connection":
            check_sqlite(session)
            return Joined(lambda sql, values: session.execute(sql, values).rowcount, "qmark")
    raise cannot_join(session)


def join_async(session: Any) -> AsyncJoined:
    """Return what writes events and witnesses into the transaction that *session* is in, or begins.

    Args:
        session: A SQLAlchemy ``AsyncSession`` or ``AsyncConnection``, a ``psycopg.AsyncConnection``, or
            the branch that ``tx.enlist`` returns of ``finality.postgres`` or ``finality.sqlite``.

    Raises:
        DefinitionError: It is none of these, or commits each statement by itself.
    """

    async def in_session(sql: str, values: tuple[Any, ...]) -> int:
        return int((await (await session.connection()).exec_driver_sql(sql, values)).rowcount)

    async def in_connection(sql: str, values: tuple[Any, ...]) -> int:
        return int((await session.exec_driver_sql(sql, values)).rowcount)

    async def in_psycopg(sql: str, values: tuple[Any, ...]) -> int:
        return int((await session.execute(sql, values)).rowcount)

    match library_of(session):
        case "sqlalchemy.AsyncSession":
            return AsyncJoined(in_session, style_of(session.get_bind()))
        case "sqlalchemy.AsyncConnection":
            return AsyncJoined(in_connection, style_of(session.engine))
        case "psycopg.AsyncConnection":
            check_psycopg(session)
            return AsyncJoined(in_psycopg, "format")
        case "finality.PostgresBranch":
            return AsyncJoined(session.write_ours, "numeric_dollar")
        case "finality.SqliteBranch":
            return AsyncJoined(session.write_ours, "qmark")
    raise cannot_join(session)


KNOWN = (
    "sqlalchemy.AsyncSession", "sqlalchemy.Session", "sqlalchemy.AsyncConnection", "sqlalchemy.Connection",
    "psycopg.AsyncConnection", "psycopg.Connection", "sqlite3.Connection", "finality.PostgresBranch",
    "finality.SqliteBranch",
)  # fmt: skip


def library_of(session: Any) -> str:
    """Return what kind of session it is, without importing its library; empty if none that we know."""
    names = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(session).__mro__}
    return next((name for name in KNOWN if name in names), "")


def style_of(engine: Any) -> str:
    """Return how an engine's driver writes parameters."""
    if engine.dialect.name not in ("postgresql", "sqlite"):
        raise DefinitionError(
            f"a session of {engine.dialect.name} cannot be joined: stores are on PostgreSQL and SQLite"
        )
    if engine.dialect.name == "sqlite":
        check_file(engine.url.database or "")
    return str(engine.dialect.paramstyle)


def check_psycopg(connection: Any) -> None:
    """See that a psycopg connection is in a transaction, or begins one."""
    if connection.autocommit and connection.info.transaction_status.name == "IDLE":
        raise commits_by_itself("connection.transaction()")


def check_sqlite(connection: sqlite3.Connection) -> None:
    """See that a ``sqlite3`` connection is in a transaction, or begins one."""
    if connection.isolation_level is None and not connection.in_transaction:
        raise commits_by_itself('connection.execute("BEGIN")')
    [path] = [file for _, name, file in connection.execute("PRAGMA database_list") if name == "main"]
    check_file(path)


def check_file(path: str) -> None:
    """See that nobody else in this process has a SQLite file open.

    Two SQLite libraries in one process drop each other's locks: when one closes a file, the system
    takes back the locks of both, and commits are lost.
    """
    from finality.adapters.sqlite.connection import is_open_here

    if path and is_open_here(path):
        raise DefinitionError(
            f"no session on {path} can be joined: Finality has the file open in this process with another "
            "SQLite, and each would drop the other's locks; use node.transaction(), or join in a process "
            "without the node"
        )


def commits_by_itself(instead: str) -> DefinitionError:
    """Return that there is no transaction to join."""
    return DefinitionError(
        f"the connection commits each statement by itself, so there is no transaction to join: begin one "
        f"with {instead}"
    )


def cannot_join(session: Any) -> DefinitionError:
    """Return that it is no session of a kind that we know."""
    return DefinitionError(
        f"{type(session).__name__} cannot be joined: join takes a Session or Connection of SQLAlchemy, a "
        "psycopg.Connection or a sqlite3.Connection, and join_async their asynchronous likes"
    )


def inserted(style: str, event: Published, delay: timedelta | None) -> tuple[str, tuple[Any, ...]]:
    """Return the statement and the values that put *event* into the outbox, or keep it until it is due."""
    now = time.time()
    values: tuple[Any, ...]
    if delay is not None:
        values = (*event, now + delay.total_seconds())
        return filled(DELAY, style, len(values)), values
    share = partition_of(f"{event.topic}/{event.key}", SHARES)
    values = (os.urandom(16).hex(), *event, now, share)
    return filled(PUBLISH, style, len(values)), values


def testified(style: str, id: str, operation: str) -> tuple[str, tuple[Any, ...]]:
    """Return the statement and the values that leave a witness, if there is none."""
    values = (id, operation, JOINED, "null", time.time())
    return filled(TESTIFY, style, len(values)), values


def filled(sql: str, style: str, count: int) -> str:
    """Return *sql* with the placeholders of a driver's style."""
    return sql.format(*(PLACEHOLDERS[style](place) for place in range(1, count + 1)))
