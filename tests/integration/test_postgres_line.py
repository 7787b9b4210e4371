"""The line on which a PostgreSQL store writes: what only prepares for a statement goes with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from finality.adapters.postgres.home import open_home
from finality.adapters.postgres.line import Line
from finality.adapters.system.environment import SystemEnvironment
from finality.ports.home import HomeTransaction
from finality.testing import PostgresServer
from tests.conformance.worlds import codec, do, do_all, execute

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("postgres")]

LEFT_OPEN = (
    "SELECT state FROM pg_stat_activity "
    "WHERE datname = current_database() AND state <> 'idle' AND pid <> pg_backend_pid()"
)


def inserts(*numbers: Any) -> Callable[[HomeTransaction], Any]:
    def work(tx: HomeTransaction) -> None:
        for number in numbers:
            tx.execute("INSERT INTO item VALUES ($1)", (number,))

    return work


def looks_for_a_number(tx: HomeTransaction) -> None:
    tx.witness(5, "b", "action")  # type: ignore[arg-type]  # the driver refuses it, and nothing is to be undone


def test_a_turn_begins_and_is_undone_with_its_first_statement(
    finality_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trips: list[Line] = []
    run = Line._run

    def count(line: Line, statement: Any) -> Any:
        trips.append(line)
        return run(line, statement)

    async def main() -> None:
        home = await open_home(finality_postgres.database(), SystemEnvironment(), codec())
        async with asyncio.timeout(30):
            await do(home, execute("CREATE TABLE item (n integer CHECK (n > 0))"))
            monkeypatch.setattr(Line, "_run", count)
            await do(home, inserts(1, 2))

            assert len(trips) == 4, "the inserts, the signature and COMMIT"
            # The driver refuses "x", and the server -1: as the first of a batch, and behind others.
            works = [inserts(*numbers) for numbers in (("x", 3), (-1, 3), (4, 5), (6, "x"), (7, -1), (8, 9))]
            outcomes = await do_all(home, *works)
            assert [isinstance(outcome, Exception) for outcome in outcomes] == [True, True, False] * 2
            for refused in (inserts("x"), inserts(-1), looks_for_a_number):
                with pytest.raises(Exception, match=r"invalid input|violates"):
                    await do(home, refused)
                assert await home.query(LEFT_OPEN) == []
            assert await home.query("SELECT n FROM item ORDER BY n") == [(n,) for n in (1, 2, 4, 5, 8, 9)]
        await home.close()

    asyncio.run(main())
