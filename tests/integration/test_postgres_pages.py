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

SNAPSHOT = "pg_current_snapshot()::text"
ROWS = 60_000  # Of a journal of fewer the planner sorts what is new, whatever it is asked.
FILL = f"""
    ALTER TABLE finality_event SET (autovacuum_enabled = false);
    ALTER TABLE finality_outbox SET (autovacuum_enabled = false);
    INSERT INTO finality_stream (stream, name, version) VALUES (1000, 's', {ROWS});
    INSERT INTO finality_event (stream, version, type, data, at, node)
    SELECT 1000, n, 'Noted@1', '{{}}', 0, 0 FROM generate_series(1, {ROWS}) n;
    INSERT INTO finality_outbox (aggregatetype, aggregateid, type, payload, share)
    SELECT 'orders', n, 'Placed', '{{}}', n % 4 FROM generate_series(1, {ROWS}) n;
"""


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


def test_pages_are_found_by_indexes_whether_their_table_was_ever_analyzed_or_not(
    finality_postgres: PostgresServer,
) -> None:
    """What has come lately by transactions, however long the table is; all others in order, without a sort.

    So it is with a plan for these very values, and with one for any.
    """

    async def story(url: str) -> None:
        async with finality.open_async(url) as node:
            await node.opened()
        connection = await asyncpg.connect(url)
        await connection.execute(FILL)
        assert await ill_planned(connection) == []
        await connection.execute("ANALYZE finality_event, finality_outbox, finality_stream")
        assert await ill_planned(connection) == []
        await connection.close()

    asyncio.run(story(finality_postgres.database()))


async def ill_planned(connection: asyncpg.Connection) -> list[str]:
    """Return the statements that would take too long, with the kind of plan and the plan."""
    # fmt: off
    pages = (  # Of what, of which share, by which index in the order of positions, by which one of late.
        ("facts",  "",    "finality_event_pkey",  "finality_event_xid"),
        ("page",   "",    "finality_event_pkey",  "finality_event_xid"),
        ("outbox", ", 1", "finality_outbox_pkey", "finality_outbox_share"),
    )
    # fmt: on
    ill = []
    for (what, share, in_order, lately), how in itertools.product(pages, ("custom", "generic")):
        await connection.execute(f"SET plan_cache_mode = force_{how}_plan")
        for name, seen in (("by_position", ""), ("further", ", '3:3:'")):
            plan = await plan_of(connection, f"{what}_{name}", f"{SNAPSHOT}, 30000, 500{seen}{share}")
            if f"Index Scan using {in_order}" not in plan or "Sort" in plan:
                ill.append(f"{how} {what}_{name}: {plan}")
        seen = await connection.fetchval(f"SELECT {SNAPSHOT}")
        plan = await plan_of(connection, f"{what}_by_snapshot", f"{SNAPSHOT}, 0, 500, '{seen}'{share}")
        if lately not in plan or in_order in plan:
            ill.append(f"{how} {what}_by_snapshot: {plan}")
        plan = await plan_of(connection, "prune_outbox", f"1, '{seen}', 0, 1000, 1.0")
        if "Index Scan using finality_outbox_share" not in plan:
            ill.append(f"{how} prune_outbox: {plan}")
    return ill


async def plan_of(connection: asyncpg.Connection, query: str, values: str) -> str:
    await connection.execute(f"PREPARE page AS {QUERIES[query]}")
    rows = await connection.fetch(f"EXPLAIN EXECUTE page({values})")
    await connection.execute("DEALLOCATE page")
    return "\n".join(row[0] for row in rows)
