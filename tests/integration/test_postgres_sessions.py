"""Sessions of a home in PostgreSQL that end while nobody looks."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from finality.adapters.postgres.home import PostgresHome
from finality.testing import PostgresServer
from tests.conformance.worlds import do as turn
from tests.conformance.worlds import execute
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
