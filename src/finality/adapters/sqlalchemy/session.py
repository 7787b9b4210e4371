"""A SQLAlchemy session whose transaction is a branch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from sqlalchemy import Connection, Engine, event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from finality.ports.environment import Environment

# What the user calls commit or rollback is so for a savepoint; the branch is the block's to end.
JOIN: Literal["create_savepoint"] = "create_savepoint"

Ask = Callable[[str], Sequence[Any]]
Before = Callable[[str, Ask], None]
After = Callable[[], None]


class BorrowedAsyncSession:
    """Fulfils the ``Borrowed`` of PostgreSQL and of MariaDB for an ``AsyncEngine``.

    Attributes:
        driver: The connection beneath, as the driver has made it.
    """

    def __init__(self, connection: AsyncConnection, driver: Any) -> None:
        self.session = AsyncSession(bind=connection, join_transaction_mode=JOIN, expire_on_commit=False)
        self.driver = driver
        self._connection = connection

    @classmethod
    async def of(cls, engine: AsyncEngine, begin_sql: str) -> BorrowedAsyncSession:
        """Begin a transaction on a connection of the engine's pool."""
        connection = await engine.connect()
        try:
            await connection.exec_driver_sql(begin_sql)
            raw = await connection.get_raw_connection()
        except BaseException:
            await connection.close()
            raise
        return cls(connection, raw.driver_connection)

    def is_in_transaction(self) -> bool:
        """Ask the driver, which has it from the server."""
        return is_in_transaction(self.driver)

    def watch(self, before: Before, after: After) -> None:
        """Tell of each statement, before and after it has run."""
        if self._connection.sync_connection is not None:
            watch(self._connection.sync_connection, before, after)

    async def flush(self) -> None:
        """Send what the session still holds back, and end its savepoint."""
        await self.session.commit()

    async def say(self, sql: str) -> str:
        """Run a statement past SQLAlchemy, which would not show the tag."""
        answer = await self.driver.execute(sql)
        return tag_of(answer)

    async def ask(self, sql: str) -> Any:
        """Return the only value."""
        return (await self._connection.exec_driver_sql(sql)).scalar()

    async def give_back(self, *, is_clean: bool) -> None:
        """Give the connection back to the pool."""
        if not is_clean:
            await self._connection.invalidate()
        try:
            await self.session.close()
        finally:
            await self._connection.close()


class BorrowedSession:
    """Fulfils the ``Borrowed`` of PostgreSQL and of MariaDB for an ``Engine``, which blocks: in threads.

    Attributes:
        driver: The connection beneath, as the driver has made it.
    """

    def __init__(self, connection: Connection, environment: Environment) -> None:
        self.session = Session(bind=connection, join_transaction_mode=JOIN, expire_on_commit=False)
        self.driver: Any = connection.connection.driver_connection
        self._connection = connection
        self._run = environment.run_blocking

    @classmethod
    async def of(cls, engine: Engine, begin_sql: str, environment: Environment) -> BorrowedSession:
        """Begin a transaction on a connection of the engine's pool."""

        def begin() -> Connection:
            connection = engine.connect()
            try:
                connection.exec_driver_sql(begin_sql)
            except BaseException:
                connection.close()
                raise
            return connection

        return cls(await environment.run_blocking(begin), environment)

    def is_in_transaction(self) -> bool:
        """Ask the driver, which has it from the server."""
        return is_in_transaction(self.driver)

    def watch(self, before: Before, after: After) -> None:
        """Tell of each statement, before and after it has run."""
        watch(self._connection, before, after)

    async def flush(self) -> None:
        """Send what the session still holds back, and end its savepoint."""
        await self._run(self.session.commit)

    async def say(self, sql: str) -> str:
        """Run a statement past SQLAlchemy, which would not show the tag."""
        return tag_of(await self._run(lambda: self.driver.execute(sql)))

    async def ask(self, sql: str) -> Any:
        """Return the only value."""
        return await self._run(lambda: self._connection.exec_driver_sql(sql).scalar())

    async def give_back(self, *, is_clean: bool) -> None:
        """Give the connection back to the pool."""

        def close() -> None:
            if not is_clean:
                self._connection.invalidate()
            try:
                self.session.close()
            finally:
                self._connection.close()

        await self._run(close)


def watch(connection: Connection, before: Before, after: After) -> None:
    """Tell of each statement on *connection*.

    Args:
        before: May refuse the statement, or ask the database about it.
        after: Hears of those that have not failed.
    """

    def ask(sql: str) -> Sequence[Any]:
        cursor = connection.connection.cursor()  # The pool's: SQLAlchemy would tell of what is asked, too.
        try:
            cursor.execute(sql)
            return cursor.fetchall()
        finally:
            cursor.close()

    def begins(connection: Connection, cursor: Any, sql: str, *rest: object) -> None:
        before(sql, ask)

    def has_run(*told: object) -> None:
        after()

    event.listen(connection, "before_cursor_execute", begins)
    event.listen(connection, "after_cursor_execute", has_run)


def is_in_transaction(driver: Any) -> bool:
    """Ask asyncpg or psycopg."""
    if hasattr(driver, "is_in_transaction"):
        return not driver.is_closed() and bool(driver.is_in_transaction())
    return driver.info.transaction_status.name in ("INTRANS", "INERROR")


def tag_of(answer: Any) -> str:
    """Return the last tag: asyncpg returns it, psycopg returns a cursor that has it."""
    if isinstance(answer, str):
        return answer
    while answer.nextset():
        continue
    return str(answer.statusmessage)
