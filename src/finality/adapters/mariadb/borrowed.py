"""A branch in a MariaDB database on a session of the user's own library: XA around what it sends.

```
    library's connection ── XA START ─ the library's statements ─ witness; XA END; XA PREPARE ──▶ closed
```

A connection that has prepared a branch keeps every other from finishing it, and a pool that takes it
back would roll the branch back. So it is closed, whatever came of the branch; the pool makes a new one.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import asyncmy
from asyncmy import errors

from finality.adapters.borrowed import BorrowingParticipant, original_of
from finality.adapters.mariadb.branch import XaBranch, exists_already
from finality.adapters.mariadb.participant import MariaDbParticipant
from finality.adapters.mariadb.session import BRANCH_EXISTS, ERRORS, Row, Session, number_of, unavailable
from finality.ports.environment import Environment
from finality.ports.participant import BranchId

SAVEPOINT = re.compile(r"(SAVEPOINT|RELEASE SAVEPOINT|ROLLBACK TO SAVEPOINT) (\S+)", re.IGNORECASE)

IN_TRANSACTION = 1  # In what the server says of its session after each command.

Ask = Callable[[str], Sequence[Row]]


class Borrowed(Protocol):
    """A session of the user's library.

    Attributes:
        session: What the user works with.
        driver: The connection beneath: asyncmy's, or PyMySQL's, which blocks.
    """

    session: Any
    driver: Any

    def watch(self, before: Callable[[str, Ask], None], after: Callable[[], None]) -> None:
        """Tell of each statement: *before*, which may refuse it or ask the database, and *after*."""

    async def flush(self) -> None:
        """Send what the library still holds back."""

    async def give_back(self, *, is_clean: bool) -> None:
        """Give the connection back; close it if it is not clean."""


Borrow = Callable[[Environment, str], Awaitable[Borrowed]]
"""Gives a session of its own, with a first statement that begins no transaction at the server."""


class BlockingSession(Session):
    """A session on a connection that blocks: it is talked to in threads, one command after the other."""

    def __init__(self, connection: Any, environment: Environment) -> None:
        super().__init__(connection)
        self._is_dropped = False
        self._run_blocking = environment.run_blocking

    @property
    def is_lost(self) -> bool:
        """Say whether the connection has ended."""
        return self._is_dropped or not self._connection.open

    @property
    def is_clean(self) -> bool:
        """Say whether nothing is open or prepared on it."""
        return not self.is_lost and not self._connection.server_status & IN_TRANSACTION

    def drop(self) -> None:
        """Cut it."""
        self._is_dropped = True
        # Not by its own ``close``, which would wait for the thread that reads from it.
        with contextlib.suppress(OSError, AttributeError):
            self._connection._sock.shutdown(socket.SHUT_RDWR)

    async def say(self, *commands: str) -> list[Sequence[Row]]:
        """Send commands; return the rows of each. The first that fails is the last to run."""
        self.done = 0

        def said() -> list[Sequence[Row]]:
            answers = []
            for command in commands:
                self._cursor.execute(command)
                answers.append(self._cursor.fetchall())
                self.done += 1
            return answers

        try:
            return await self._run_blocking(said)
        except Exception as error:
            told = as_asyncmy(error)
            self._mind(told)
            raise told from error


class BorrowedXaBranch(XaBranch):
    """Fulfils ``adapters.borrowed.SessionBranch``."""

    savepoint_words = "session.begin_nested()"

    def __init__(
        self, id: BranchId, borrowed: Borrowed, session: Session, recovery: MariaDbParticipant
    ) -> None:
        super().__init__(id, session, recovery)
        self.session = borrowed.session
        self._borrowed = borrowed
        self._at_savepoint: dict[str, str | None] = {}  # What had failed by then.
        self._failure_after: str | None = None
        borrowed.watch(self._before, self._after)

    def _before(self, sql: str, ask: Ask) -> None:
        """Take a statement for failed until it has run: the server would prepare the rest without it."""
        after = self._failure
        if savepoint := SAVEPOINT.fullmatch(sql.strip()):
            verb, name = savepoint[1].upper(), savepoint[2]
            if verb == "SAVEPOINT":
                self._at_savepoint[name] = after
            elif verb == "ROLLBACK TO SAVEPOINT":
                after = self._at_savepoint.get(name, after)
        elif not self._reads(sql, ask):
            self._has_written = True
        self._failure, self._failure_after = f"{' '.join(sql.split())[:60]!r}", after

    def _reads(self, sql: str, ask: Ask) -> bool:
        statement = self._checked(sql)
        catalog = self._keeper.catalog
        known = catalog.known(statement) or catalog.learn(statement, ask(catalog.question(statement)))
        return known.surely_reads()

    def _after(self) -> None:
        self._failure = self._failure_after

    async def _flush(self) -> None:
        try:
            await self._borrowed.flush()
        except Exception as error:
            raise self._no(as_asyncmy(error)) from error

    async def _leave_prepared(self) -> None:
        await self._borrowed.give_back(is_clean=False)

    async def _let_go(self) -> None:
        if not self._session.is_clean and not self._is_lost:
            await self._undo()
        with contextlib.suppress(Exception):  # A line that is cut does the same.
            await self._borrowed.give_back(is_clean=False)


class MariaDbSessions(BorrowingParticipant):
    """Fulfils ``ports.participant.Participant`` with sessions of the user's library."""

    def __init__(self, recovery: MariaDbParticipant, lock_seconds: float, borrow: Borrow) -> None:
        super().__init__(recovery)
        self._recovery = recovery
        self._first = f"SET SESSION innodb_lock_wait_timeout = {max(1, round(lock_seconds))}"
        self._borrow = borrow

    async def _begin(self, branch: BranchId, deadline: float | None) -> BorrowedXaBranch:
        await self._recovery.make_table()
        try:
            borrowed = await self._borrow(self._environment, self._first)
        except Exception as error:
            raise unavailable(self.name, as_asyncmy(error)) from error
        try:
            session = session_of(borrowed.driver, self._environment)
            # What the engine's own listeners have asked may have begun a transaction.
            limits = self._recovery.limits(session, deadline)
            await session.say("ROLLBACK", *limits, self._recovery.sql("begin", branch))
        except BaseException as error:
            await borrowed.give_back(is_clean=False)
            if number_of(error) == BRANCH_EXISTS:
                raise exists_already(branch) from error
            if isinstance(error, ERRORS):
                raise unavailable(self.name, error) from error
            raise
        return BorrowedXaBranch(branch, borrowed, session, self._recovery)


def session_of(driver: Any, environment: Environment) -> Session:
    """Return what talks on the driver's connection."""
    return Session(driver) if isinstance(driver, asyncmy.Connection) else BlockingSession(driver, environment)


def as_asyncmy(error: Exception) -> BaseException:
    """Return the driver's error as asyncmy tells it: PyMySQL's has the same number and no state."""
    original = original_of(error)
    if isinstance(original, ERRORS):
        return original
    told = errors.MySQLError(*original.args)
    told.sqlstate = "23000" if type(original).__name__ == "IntegrityError" else None
    return told
