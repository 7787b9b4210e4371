"""A branch in PostgreSQL begins in the message of its first statement, whatever that statement is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

import finality
from finality.adapters.postgres.participant import PostgresParticipant
from finality.adapters.system.environment import SystemEnvironment
from finality.core.errors import Unavailable
from finality.core.two_phase import Decision, Vote
from finality.ports.store import StatementRefused
from finality.testing import PostgresServer, postgres
from tests.conformance.participants.worlds import id_of, run
from tests.integration.kit import eventually, within

# fmt: off
FIRST: list[tuple[str, tuple[Any, ...], bool]] = [  # And whether it works.
    ("INSERT INTO item VALUES ($1)",               (1,),     True),
    ("INSERT INTO item SELECT 1 RETURNING n",      (),       True),
    ("SELECT 'red'::colour, '{blue}'::colour[]",   (),       True),   # The driver asks what these are, first.
    ("INSERT INTO item VALUES ($1)",               ("one",), False),  # The driver does not even send it.
    ("INSERT INTO item VALUES ($1)",               (-1,),    False),
    ("INSERT INTO itme VALUES ($1)",               (1,),     False),
    ("INSERT INTO item VALUES (1); SELECT 1",      (),       False),
]
# fmt: on
LEFT = (
    "SELECT n::text FROM item UNION ALL SELECT DISTINCT state FROM pg_stat_activity "
    "WHERE application_name = 'finality bank' AND datname = current_database()"
)


@contextlib.asynccontextmanager
async def opened(server: PostgresServer, database: str) -> AsyncIterator[PostgresParticipant]:
    """Give a participant with one connection for branches, and a table of numbers."""
    bank = finality.postgres(server.database(database), name="bank", connections_max=1)
    await bank.open(SystemEnvironment())
    made = await bank.begin(id_of("made"))
    await made.execute("CREATE TABLE item (n integer CHECK (n > 0))")
    await made.execute("CREATE TYPE colour AS ENUM ('red', 'blue')")
    await made.commit()
    yield bank
    await bank.close()


@pytest.mark.slow
def test_it_is_part_of_the_branch(finality_postgres: PostgresServer) -> None:
    """Each with another one behind it, and then alone: the driver sends less of what it has prepared."""

    async def story() -> None:
        async with opened(finality_postgres, "first") as bank:
            for number, (sql, parameters, works) in enumerate(2 * FIRST):
                branch = await bank.begin(id_of(f"t{number}"))
                with contextlib.nullcontext() if works else pytest.raises(Exception, match=r"\w"):
                    await branch.execute(sql, *parameters)
                if number < len(FIRST):
                    with contextlib.suppress(Exception):  # The server may have had enough of it.
                        await branch.execute("INSERT INTO item VALUES (2)")
                await branch.abort()

                assert finality_postgres.sql(LEFT, database="first") == [["idle"]], sql

    run(story())


def test_a_line_that_died_while_it_was_idle_is_replaced(finality_postgres: PostgresServer) -> None:
    async def story() -> None:
        async with opened(finality_postgres, "died") as bank:
            branch = await bank.begin(id_of("t1"))
            # This thread waits for the server, so the driver has not heard of it yet.
            finality_postgres.sql(f"SELECT pg_terminate_backend({branch.session}, 5000)", database="died")
            async with branch.savepoint():
                await branch.execute("INSERT INTO item VALUES (1)")

            assert await branch.prepare() is Vote.YES
            assert await bank.finish(id_of("t1"), Decision.COMMIT) is Decision.COMMIT
            assert finality_postgres.sql("SELECT n FROM item", database="died") == [["1"]]

    run(story())


@pytest.mark.slow
def test_nothing_runs_by_itself_behind_a_beginning_that_is_refused() -> None:
    """A standby takes no branch. It is promoted meanwhile, and would take each statement alone."""

    async def story(server: PostgresServer, bank: PostgresParticipant) -> None:
        told, nested = await bank.begin(id_of("told")), await bank.begin(id_of("nested"))
        with pytest.raises(Unavailable, match="recovery"):
            await told.execute("SELECT 1")
        with pytest.raises(Unavailable, match="recovery"):
            async with asyncio.timeout(5), nested.savepoint():
                raise AssertionError("it has begun")
        server.sql("SELECT pg_promote()")
        for branch in (told, nested):
            with pytest.raises(Unavailable):
                await branch.execute("INSERT INTO item VALUES (1)")
            await branch.abort()

        assert server.sql("SELECT n FROM item", database="standby") == []

    async def main(server: PostgresServer) -> None:
        async with opened(server, "standby"):
            pass
        server.stop()
        (server.folder / "data" / "standby.signal").touch()
        server.start()
        bank = finality.postgres(server.url_of("standby"), name="bank")
        await bank.open(SystemEnvironment())
        await story(server, bank)
        await bank.close()

    with postgres() as server:
        run(main(server))


def test_a_deadline_may_be_later_than_any_time_out_of_the_server(finality_postgres: PostgresServer) -> None:
    async def story() -> None:
        async with opened(finality_postgres, "late") as bank:
            branch = await bank.begin(id_of("t1"), deadline=SystemEnvironment().now() + 30 * 86_400)
            await branch.execute("INSERT INTO item VALUES (1)")
            await branch.commit()

            assert finality_postgres.sql("SELECT n FROM item", database="late") == [["1"]]

    run(story())


def test_it_begins_nothing_on_another_line_once_the_branch_has_ended(
    finality_postgres: PostgresServer,
) -> None:
    """As when something else of its block has failed: whoever asked it may not even wait for it."""

    async def story() -> None:
        async with opened(finality_postgres, "ended") as bank:
            branch = await bank.begin(id_of("t1"))
            session = branch.session
            asked = asyncio.ensure_future(branch.execute("SELECT pg_sleep(60)"))
            state = f"SELECT state FROM pg_stat_activity WHERE pid = {session}"
            await eventually(lambda: finality_postgres.sql(state, database="ended") == [["active"]])
            await branch.abort()
            with pytest.raises(StatementRefused, match="has ended"):
                await within(asked)
            finality_postgres.sql(f"SELECT pg_terminate_backend({session}, 5000)", database="ended")

            assert finality_postgres.sql(LEFT, database="ended") == []

    run(story())


def test_a_branch_without_one_says_nothing_to_the_server(finality_postgres: PostgresServer) -> None:
    async def story() -> None:
        async with opened(finality_postgres, "silent") as bank:
            for end in ("prepare", "commit", "abort"):
                branch = await bank.begin(id_of(end))
                asked = f"SELECT state, query_start FROM pg_stat_activity WHERE pid = {branch.session}"
                [before] = finality_postgres.sql(asked, database="silent")
                vote = await getattr(branch, end)()
                [after] = finality_postgres.sql(asked, database="silent")

                assert vote is (Vote.READ_ONLY if end == "prepare" else None)
                assert before == after
                assert before[0] == "idle"

    run(story())
