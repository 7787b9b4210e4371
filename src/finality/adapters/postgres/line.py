"""The line on which a store writes: used from the writer's thread, without ``await``.

A turn is plain code, so the driver runs on an event loop of its own, in that thread. What only prepares
for a statement, such as ``BEGIN``, goes with it: nobody waits for an answer of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg

from finality.adapters.postgres.ahead import send_ahead
from finality.adapters.postgres.session import (
    ERRORS,
    Connection,
    Server,
    has_ended,
    is_clean,
    meaning,
    unavailable,
)
from finality.core.errors import Conflict, Unavailable

BEGIN = "BEGIN"
DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class Line:
    """A connection that is made anew when it is lost. Everything here belongs to one thread."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = asyncio.new_event_loop()
        self._connection: Connection = None
        self._ahead: list[str] = []  # What goes with the next statement.
        self._sent: asyncio.Task[Sequence[Any]] | None = None

    @property
    def is_open(self) -> bool:
        """Say whether it is connected, as far as anybody can know."""
        return self._connection is not None and not self._connection.is_closed()

    @property
    def is_clean(self) -> bool:
        """Say whether no transaction is open on it."""
        return self._connection is not None and is_clean(self._connection)

    def connect(self) -> None:
        """Connect, unless it is.

        Raises:
            Unavailable: The server is out of reach.
        """
        if not self.is_open:
            self._connection = self._loop.run_until_complete(self._server.connect())

    def begin(self) -> None:
        """Begin a transaction with the next statement, on a new connection if the last one was lost."""
        self._ahead = [BEGIN]

    def prepare(self, *statements: str) -> None:
        """Let statements go ahead of the next one; they have no parameters and no rows."""
        self._ahead += statements

    def send(self, sql: str, *parameters: Any) -> None:
        """Run a statement, and go on meanwhile; nothing else can be run before it is answered."""
        self.connect()
        self._sent = self._loop.create_task(self._connection.fetch(sql, *parameters))
        self._wait(asyncio.sleep(0))  # It is on its way by then.

    @property
    def is_sending(self) -> bool:
        """Say whether nobody has heard yet what came of what was sent."""
        return self._sent is not None

    def has_answered(self) -> bool:
        """Wait for the end of what was sent, if anything was; say whether it has worked."""
        if self._sent is None:
            return True
        self._wait(asyncio.wait([self._sent]))
        return self._sent.exception() is None

    def answer(self) -> Sequence[Any]:
        """Return the rows of what was sent."""
        sent, self._sent = self._sent, None
        rows: Sequence[Any] = self._wait(sent)
        return rows

    def fetch(self, sql: str, *parameters: Any) -> Sequence[Any]:
        """Run a statement; return its rows."""
        rows: Sequence[Any] = self._run(lambda ahead: self._fetch(ahead, sql, parameters))
        return rows

    def tell(self, sql: str) -> str:
        """Run a statement without parameters; return its tag."""
        # One query: behind what was sent ahead and has failed, a simple one would get no answer.
        tag: str = self._run(lambda ahead: self._connection.execute("; ".join((*ahead, sql))))
        return tag

    def _run(self, statement: Callable[[Sequence[str]], Awaitable[Any]]) -> Any:
        """Run a statement; once more on another connection if it would begin on one that was lost."""
        ahead, self._ahead = self._ahead, []
        if BEGIN in ahead:
            self.connect()
            try:
                return self._wait(statement(ahead))
            except ERRORS as error:
                if not has_ended(self._connection, error):
                    raise
                self.cut()  # It had died unnoticed, and another one is likely to work.
                self.connect()
        return self._wait(statement(ahead))

    async def _fetch(self, ahead: Sequence[str], sql: str, parameters: Sequence[Any]) -> Sequence[Any]:
        connection = self._connection
        if ahead and self.is_open:
            send_ahead(connection, *ahead)
        try:
            rows: Sequence[Any] = await connection.fetch(sql, *parameters)
        except Exception as error:
            # Only an error that the server sent has a severity. The driver itself has refused this one,
            # and does not know what was answered to the rest.
            if ahead and not getattr(error, "severity", None) and self.is_open:
                await connection.fetch("SELECT")  # With a Sync: an answer, even if the rest has failed.
            raise
        return rows

    def _wait(self, work: Any) -> Any:
        return self._loop.run_until_complete(work)

    def cut(self) -> None:
        """Drop the connection; the server aborts what is open on it."""
        if self._connection is not None:
            self._connection.terminate()
            self._wait(asyncio.sleep(0))
            self._connection = None
        self._ahead = []

    def close(self) -> None:
        """Drop the connection for good."""
        if not self._loop.is_closed():
            self.cut()
            self._loop.close()

    def explain(self, problem: BaseException) -> Unavailable:
        """Return that the server is out of reach."""
        return unavailable(self._server.name, problem, self._server.kind)

    def meaning(self, problem: BaseException) -> BaseException:
        """Return *problem*, or what it means to the caller if the server or another is at fault."""
        is_ours = isinstance(problem, DRIVER_ERRORS) or (isinstance(problem, OSError) and not self.is_open)
        if not is_ours or self._connection is None:
            return problem
        explained = meaning(self._server.name, self._connection, problem)
        if not isinstance(explained, Conflict | Unavailable):
            return problem  # A constraint is the user's own, and so is its error.
        explained.__cause__ = problem
        return explained
