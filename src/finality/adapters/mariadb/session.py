"""A session at a MariaDB server, and what its errors mean."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import asyncmy
from asyncmy import errors

from finality.adapters.silence import Silence
from finality.core.errors import Conflict, DefinitionError, FinalityError, Refused, Unavailable
from finality.core.secret import without_password

SCHEMES = ("mariadb", "mysql")
PORT = 3306
CONNECT_SECONDS_MAX = 10
STATEMENTS_PREPARED_MAX = 100  # A session; the server keeps some ten thousand for all.

LOST = {0, 2003, 2006, 2013, 2014, 2055, 1053, 1077, 1078, 1079, 1080, 1927}
LOCK_WAIT_TIMEOUT, DEADLOCK = 1205, 1213
UNKNOWN_BRANCH, BRANCH_EXISTS = 1397, 1440
ROLLED_BACK = {1402, 1613, 1614}  # The server has already aborted the branch: XA_RB…

ERRORS = (errors.MySQLError, OSError, TimeoutError)
Row = tuple[Any, ...]


class Session:
    """A connection, with the statements that it has prepared.

    Attributes:
        thread: What the server calls it, in ``SHOW PROCESSLIST``.
        done: How many commands of the last message have succeeded.
    """

    def __init__(self, connection: Any, silence: Silence | None = None) -> None:
        self.thread: int = connection.thread_id()
        self.is_mariadb = "MariaDB" in connection.get_server_info()
        self.done = 0
        self._connection = connection
        self._silence = silence or Silence()
        self._cursor = connection.cursor()
        self._statements: OrderedDict[str, Any] = OrderedDict()

    @property
    def is_lost(self) -> bool:
        """Say whether the connection has ended."""
        return not self._connection.connected

    @property
    def is_clean(self) -> bool:
        """Say whether nothing is open or prepared on it, so that another branch may have it."""
        return bool(self._connection.connected) and not self._connection.get_transaction_status()

    def drop(self) -> None:
        """Cut it; the server aborts what is open on it, and keeps what is prepared."""
        self._connection.close()

    async def say(self, *commands: str) -> list[Sequence[Row]]:
        """Send commands in one message; return the rows of each. The first that fails is the last to run.

        A line that stays silent is cut.
        """
        cut = self._connection.close
        self._silence.begins(cut)
        answers: list[Sequence[Row]] = []
        self.done = 0
        try:
            await self._cursor.execute("; ".join(commands))
            while True:
                answers.append(await self._cursor.fetchall())
                self.done += 1
                if not await self._cursor.nextset():
                    return answers
        except ERRORS as error:
            self._mind(error)
            raise
        finally:
            self._silence.ends(cut)

    async def run(self, sql: str, parameters: Sequence[Any]) -> Sequence[Row]:
        """Run one statement of the user's, with ``?`` for each of *parameters*; return its rows."""
        try:
            statement = self._statements.get(sql)
            if statement is None:
                statement = self._statements[sql] = await self._connection.prepare(sql)
                if len(self._statements) > STATEMENTS_PREPARED_MAX:
                    _, oldest = self._statements.popitem(last=False)
                    await oldest.close()
            else:
                self._statements.move_to_end(sql)
            result = await statement.execute(parameters)
        except ERRORS as error:
            self._mind(error)
            raise
        return result.rows or ()

    def _mind(self, error: BaseException) -> None:
        if number_of(error) in LOST or not isinstance(error, errors.MySQLError):
            self.drop()


@dataclass(frozen=True, slots=True)
class Server:
    """Where sessions are opened, and how."""

    name: str
    options: dict[str, Any]
    settings: tuple[str, ...]
    _silence: Silence = field(default_factory=Silence)

    async def connect(self) -> Session:
        """Open a session.

        Raises:
            Unavailable: The server is out of reach, or lets nobody in.
        """
        try:
            connection = await asyncmy.connect(
                **self.options, autocommit=True, connect_timeout=CONNECT_SECONDS_MAX, charset="utf8mb4"
            )
            session = Session(connection, self._silence)
            await session.say(*self.settings)
        except ERRORS as error:
            raise unavailable(self.name, error) from error
        return session


def server_at(url: str, name: str, *, lock_seconds: float, isolation: str) -> Server:
    """Return the server that *url* names.

    Raises:
        DefinitionError: It names none.
    """
    parts = urlsplit(url)
    options: dict[str, Any] = {
        "host": parts.hostname,
        "port": parts.port or PORT,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "database": unquote(parts.path.lstrip("/")),
    }
    asked = dict(parse_qsl(parts.query))
    if parts.scheme not in SCHEMES or not options["database"] or asked.keys() - {"unix_socket", "ssl_ca"}:
        raise DefinitionError(
            f"{without_password(url)!r} names no MariaDB database: write "
            "mariadb://user:password@host:3306/database, perhaps with "
            "?ssl_ca=/path/to/ca.pem or ?unix_socket=/path"
        )
    if "ssl_ca" in asked:
        options["ssl"] = {"ca": asked["ssl_ca"]}
    if "unix_socket" in asked:
        options["unix_socket"] = asked["unix_socket"]
    settings = (
        f"SET SESSION innodb_lock_wait_timeout = {max(1, round(lock_seconds))}",
        f"SET SESSION TRANSACTION ISOLATION LEVEL {isolation}",
    )
    return Server(name, options, settings)


def number_of(error: BaseException) -> int:
    """Return the server's number of an error; 0 for one of the line."""
    told = error.args[0] if isinstance(error, errors.MySQLError) and error.args else 0
    return told if isinstance(told, int) else 0


def meaning(name: str, session: Session, error: BaseException) -> FinalityError | None:
    """Return what a failed statement means to whoever wants to know whether to try again.

    None for what is wrong with the statement itself: that is told in the driver's own words.
    """
    state = getattr(error, "sqlstate", None) or ""
    if session.is_lost:
        return unavailable(name, error)
    if number_of(error) in (LOCK_WAIT_TIMEOUT, DEADLOCK, *ROLLED_BACK) or state.startswith("40"):
        return Conflict(f"somebody else was first at {name}: {said(error)}; run the transaction again")
    if state.startswith("23"):
        return Refused(f"{name} says no: {said(error)}", branch=name)
    return None


def said(error: BaseException) -> str:
    """Return the error in the server's words, on one line."""
    text = error.args[-1] if error.args else ""
    return " ".join(str(text).split()) or type(error).__name__


def unavailable(name: str, error: BaseException) -> Unavailable:
    """Return that the participant is out of reach, and why."""
    return Unavailable(
        f"participant {name} is unavailable: {said(error)}; see that its server runs and can be reached"
    )


def literal(text: str) -> str:
    """Return *text* as a literal of SQL, whatever the session thinks of backslashes and quotes."""
    assert text.isascii(), f"{text!r} is no name of ours"
    return f"'{text}'" if re.fullmatch(r"[\w .:+~-]*", text) else f"X'{text.encode().hex()}'"
