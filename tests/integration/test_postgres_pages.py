"""PostgreSQL's pages of the journal: how they are found, and the snapshots that they are told apart by."""

from __future__ import annotations

import asyncio
import itertools

import asyncpg
import pytest

import finality
from finality.adapters.postgres.cursor import shown_with
from finality.adapters.postgres.queries import QUERIES
from finality.testing import PostgresServer

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("postgres"), pytest.mark.timeout(120)]

EVERYTHING = "pg_current_snapshot()::text, 0, 1000"
WHAT_IS_NEW = f"{EVERYTHING}, '3:3:'"


@pytest.mark.parametrize(
    "snapshot, own, shown",
    [
        ("7:7:", 7, "8:8:"),
        ("5:9:5,7", 7, "5:9:5"),
        ("5:9:5", 5, "9:9:"),
        ("5:9:5,8", 11, "5:12:5,8,9,10"),
        ("5:9:5,6,8", 5, "6:9:6,8"),
    ],
)
def test_a_snapshot_is_made_to_show_a_transaction_of_ones_own(snapshot: str, own: int, shown: str) -> None:
    assert shown_with(snapshot, own) == shown


def test_pages_of_a_journal_that_was_never_analyzed_are_found_by_its_indexes(
    finality_postgres: PostgresServer,
) -> None:
    """What has come lately by transactions, however long the journal is; all others in order, without a sort.

    So it is with a plan for these very values, and with one for any.
    """

    async def story(url: str) -> None:
        async with finality.open_async(url) as node:
            await node.opened()
        connection = await asyncpg.connect(url)
        for what, how in itertools.product(("facts", "page"), ("custom", "generic")):
            await connection.execute(f"SET plan_cache_mode = force_{how}_plan")
            for name, values in (("by_position", EVERYTHING), ("further", WHAT_IS_NEW)):
                plan = await plan_of(connection, f"{what}_{name}", values)
                assert "Index Scan using finality_event_pkey" in plan
                assert "Sort" not in plan
            assert "on finality_event_xid" in await plan_of(connection, f"{what}_by_snapshot", WHAT_IS_NEW)
        await connection.close()

    asyncio.run(story(finality_postgres.database()))


async def plan_of(connection: asyncpg.Connection, query: str, values: str) -> str:
    await connection.execute(f"PREPARE page AS {QUERIES[query]}")
    rows = await connection.fetch(f"EXPLAIN EXECUTE page({values})")
    await connection.execute("DEALLOCATE page")
    return "\n".join(row[0] for row in rows)
