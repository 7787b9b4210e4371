"""Sessions of a home in PostgreSQL that end while nobody looks."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import asyncpg
import pytest

from finality.adapters.postgres.home import PostgresHome
from finality.adapters.postgres.line import Line
from finality.core.errors import Unavailable
from finality.core.ids import StreamName, Version
from finality.testing import PostgresServer
from tests.conformance.worlds import Noted, execute
from tests.conformance.worlds import do as turn
from tests.integration.kit import eventually
from tests.integration.test_postgres_home import insist, with_home

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("postgres"), pytest.mark.timeout(120)]


def test_a_session_that_is_terminated_is_replaced(finality_postgres: PostgresServer) -> None:
    async def main(home: PostgresHome) -> None:
        await turn(home, execute("CREATE TABLE item (n int)"))
        database = home.url.rpartition("/")[2]
        kill = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
        for n in range(3):
            await asyncio.to_thread(finality_postgres.sql, kill)
            await insist(lambda n=n: turn(home, execute("INSERT INTO item VALUES (?)", n)))  # type: ignore[misc]  # mypy infers no default

        assert await home.query("SELECT n FROM item ORDER BY n") == [(0,), (1,), (2,)]

    with_home(finality_postgres, main)


@pytest.mark.parametrize(
    "last_word", [asyncpg.InternalClientError("no such state"), asyncpg.AdminShutdownError("terminated")]
)
def test_a_session_that_has_ended_is_not_handed_out_again_while_its_line_looks_open(
    finality_postgres: PostgresServer, last_word: Exception
) -> None:
    """The driver may say so before its line has heard it: the loop has not looked since."""

    async def main(home: PostgresHome) -> None:
        given = []

        async def work(connection: asyncpg.Connection) -> int:
            given.append(connection)
            if len(given) > 1:
                return int(await connection.fetchval("SELECT 1"))
            finality_postgres.sql(f"SELECT pg_terminate_backend({connection.get_server_pid()}, 5000)")
            assert not connection.is_closed()
            raise last_word

        assert await home._ask(work) == 1
        assert given[0].is_closed()
        assert given[0] is not given[1]

    with_home(finality_postgres, main)


def test_an_append_that_arrives_once_it_was_given_up_leaves_nothing(
    finality_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its line is cut while the server's process is stopped, with the statement before it."""
    send = Line.send
    stopped: list[int] = []

    def stop_and_send(line: Line, sql: str, *parameters: Any) -> None:
        stopped.append(line._connection.get_server_pid())
        os.kill(stopped[-1], signal.SIGSTOP)
        send(line, sql, *parameters)
        line._connection.terminate()

    def have_ended() -> bool:
        left = f"SELECT FROM pg_stat_activity WHERE pid IN ({', '.join(map(str, stopped))})"
        return finality_postgres.sql(left) == []

    async def main(home: PostgresHome) -> None:
        await home.append(StreamName("s"), [Noted(0)], expected=Version(0))  # It has keys from now on.
        monkeypatch.setattr(Line, "send", stop_and_send)
        try:
            with pytest.raises(Unavailable):
                await home.append(StreamName("t"), [Noted(1)], expected=Version(0))
        finally:
            for session in stopped:
                os.kill(session, signal.SIGCONT)
        monkeypatch.undo()
        await eventually(have_ended)

        assert len(stopped) == 2
        assert [item.event for item in (await home.page()).events] == [Noted(0)]
        await home.append(StreamName("t"), [Noted(2)], expected=Version(0))

    with_home(finality_postgres, main)
