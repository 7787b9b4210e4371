"""A session at a PostgreSQL server, and what its errors mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import asyncpg

from finality.adapters.silence import Silence
from finality.core.errors import Conflict, FinalityError, Refused, Unavailable

CONNECT_SECONDS_MAX = 10.0
NOT_OURS_TO_JUDGE = ("08", "57P", "58", "XX", "F0")  # The line, the operator, the disk, the server itself.

# A peer that is gone without a word frees what it has locked within half a minute, not two hours.
KEEPALIVE = {
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "standard_conforming_strings": "on",
}

Connection = Any  # asyncpg carries no types.
# The driver says the last one of a session that the server has ended while its line looks open.
ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, asyncpg.InternalClientError)
LOST = (OSError, asyncpg.InternalClientError)
ENDED = ("08", "57P")  # Of a session, in the server's last word.


@dataclass(frozen=True, slots=True)
class Server:
    """Where sessions are opened, and how."""

    url: str
    name: str
    lock_seconds: float
    kind: str = "participant"
    _silence: Silence = field(default_factory=Silence)

    async def connect(self) -> Connection:
        """Open a session.

        Raises:
            Unavailable: The server is out of reach, or lets nobody in.
        """
        settings = {
            "application_name": f"finality {self.name}",
            "lock_timeout": f"{int(self.lock_seconds * 1_000)}ms",
            **KEEPALIVE,
        }
        try:
            return await asyncpg.connect(self.url, timeout=CONNECT_SECONDS_MAX, server_settings=settings)
        except (*ERRORS, ValueError) as error:
            raise unavailable(self.name, error, self.kind) from error

    async def answer(self, connection: Connection, sql: str) -> str:
        """Run statements without parameters; return the last one's tag.

        A line that stays silent is cut. It is never cancelled at the server: a commit that waits for a
        replica would go on without it.
        """
        cut = connection.terminate
        self._silence.begins(cut)
        try:
            tag: str = await connection.execute(sql)
            return tag
        finally:
            self._silence.ends(cut)


def is_clean(connection: Connection) -> bool:
    """Say whether nothing is open on a connection, so that another branch may have it."""
    return not connection.is_closed() and not connection.is_in_transaction()


def has_ended(connection: Connection, error: BaseException) -> bool:
    """Say whether an error is the end of a session, also of one whose line still looks open."""
    return connection.is_closed() or isinstance(error, LOST) or state_of(error).startswith(ENDED)


def drop(connection: Connection) -> None:
    """Cut a connection; the server aborts what is open on it, and keeps what is prepared."""
    connection.terminate()


def state_of(error: BaseException) -> str:
    """Return the error's SQLSTATE; empty if the server did not send it."""
    return getattr(error, "sqlstate", None) or ""


def is_servers_no(connection: Connection, error: BaseException) -> bool:
    """Say whether the server itself has refused the statement, and the session goes on."""
    state = state_of(error)
    return bool(state) and not connection.is_closed() and not state.startswith(NOT_OURS_TO_JUDGE)


def meaning(name: str, connection: Connection, error: BaseException) -> FinalityError | None:
    """Return what a failed statement means to whoever wants to know whether to try again.

    None for what is wrong with the statement itself: that is told in the driver's own words.
    """
    state = state_of(error)
    if state.startswith("40") or state == "55P03" or isinstance(error, asyncpg.InvalidCachedStatementError):
        return Conflict(f"somebody else was first at {name}: {said(error)}; run the transaction again")
    if state.startswith("23"):
        return Refused(f"{name} says no: {said(error)}", branch=name)
    is_lost = connection.is_closed() or state.startswith(NOT_OURS_TO_JUDGE) or isinstance(error, LOST)
    return unavailable(name, error) if is_lost else None


def said(error: BaseException) -> str:
    """Return the error in the server's words, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def unavailable(name: str, error: BaseException, kind: str = "participant") -> Unavailable:
    """Return that the participant, or what *kind* says, is out of reach, and why."""
    return Unavailable(
        f"{kind} {name} is unavailable: {said(error)}; see that its server runs and can be reached"
    )


def literal(text: str) -> str:
    """Return *text* as a literal of SQL, whatever the session thinks of backslashes."""
    assert text.isascii() and text.isprintable(), f"{text!r} is no name of ours"  # noqa: PT018
    if "'" not in text and "\\" not in text:
        return f"'{text}'"
    quoted = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{quoted}'"
