"""PostgreSQL's pages of the journal: how they are found, and the snapshots that they are told apart by."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

import finality
from finality.adapters.postgres.cursor import shown_with
from finality.adapters.postgres.queries import QUERIES
from finality.testing import PostgresServer

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("postgres"), pytest.mark.timeout(120)]

EVERYTHING = "pg_current_snapshot()::text, 0, 1000"


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


@pytest.mark.parametrize("query", ["facts_by_position", "page_by_position"])
def test_a_page_walks_the_index_of_a_journal_that_was_never_analyzed(
    finality_postgres: PostgresServer, query: str
) -> None:
    async def plan_on(url: str) -> str:
        async with finality.open_async(url) as node:
            await node.opened()
        connection = await asyncpg.connect(url)
        await connection.execute(f"PREPARE page AS {QUERIES[query]}")
        rows = await connection.fetch(f"EXPLAIN EXECUTE page({EVERYTHING})")
        await connection.close()
        return "\n".join(row[0] for row in rows)

    plan = asyncio.run(plan_on(finality_postgres.database()))

    assert "Index Scan using finality_event_pkey" in plan
    assert "Sort" not in plan
