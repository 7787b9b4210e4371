"""A psycopg connection whose transaction is a branch."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from finality.ports.environment import Environment

# Begun as one of two phases, a connection refuses commit() and rollback(); savepoints are
# ``with connection.transaction()``.
TWO_PHASE = "finality"


class BorrowedAsyncConnection:
    """Fulfils ``adapters.postgres.borrowed.Borrowed`` for ``psycopg.AsyncConnection``."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self.session = connection

    @classmethod
    async def of(cls, url: str, begin_sql: str) -> BorrowedAsyncConnection:
        """Connect, and begin."""
        connection = await psycopg.AsyncConnection.connect(url)
        await connection.tpc_begin(TWO_PHASE)
        await connection.execute(begin_sql.encode())
        return cls(connection)

    def is_in_transaction(self) -> bool:
        """Ask the driver, which has it from the server."""
        return is_in_transaction(self.session)

    async def flush(self) -> None:
        """psycopg holds nothing back."""

    async def say(self, sql: str) -> str:
        """Run a statement past ``tpc_prepare``, which would not show the tag."""
        cursor = await self.session.execute(sql.encode())
        while cursor.nextset():
            continue
        return str(cursor.statusmessage)

    async def ask(self, sql: str) -> Any:
        """Return the only value."""
        row = await (await self.session.execute(sql.encode())).fetchone()
        return row[0] if row else None

    async def give_back(self, *, is_clean: bool) -> None:
        """Close it; what is not prepared is undone."""
        await self.session.close()


class BorrowedConnection:
    """The same for ``psycopg.Connection``, which blocks: in threads."""

    def __init__(self, connection: psycopg.Connection[Any], environment: Environment) -> None:
        self.session = connection
        self._run = environment.run_blocking

    @classmethod
    async def of(cls, url: str, begin_sql: str, environment: Environment) -> BorrowedConnection:
        """Connect, and begin."""

        def begin() -> psycopg.Connection[Any]:
            connection = psycopg.Connection.connect(url)
            connection.tpc_begin(TWO_PHASE)
            connection.execute(begin_sql.encode())
            return connection

        return cls(await environment.run_blocking(begin), environment)

    def is_in_transaction(self) -> bool:
        """Ask the driver, which has it from the server."""
        return is_in_transaction(self.session)

    async def flush(self) -> None:
        """psycopg holds nothing back."""

    async def say(self, sql: str) -> str:
        """Run a statement past ``tpc_prepare``, which would not show the tag."""
        cursor = await self._run(lambda: self.session.execute(sql.encode()))
        while cursor.nextset():
            continue
        return str(cursor.statusmessage)

    async def ask(self, sql: str) -> Any:
        """Return the only value."""
        row = await self._run(lambda: self.session.execute(sql.encode()).fetchone())
        return row[0] if row else None

    async def give_back(self, *, is_clean: bool) -> None:
        """Close it; what is not prepared is undone."""
        await self._run(self.session.close)


def is_in_transaction(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    """Ask the connection."""
    return connection.info.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR)
