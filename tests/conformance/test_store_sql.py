"""What the user's own SQL may do in a store, and what is refused, by every adapter."""

from __future__ import annotations

import pytest

from finality.ports.home import HomeTransaction
from finality.ports.store import StatementRefused
from tests.conformance.tables import insert, items, table
from tests.conformance.worlds import AnyHome, World, append_to, do, do_all, execute

# ── What the user's SQL may do ──────────────────────────────────────────────────────────────

REFUSED = [
    "COMMIT",
    "ROLLBACK",
    "BEGIN IMMEDIATE",
    "END",
    "SAVEPOINT mine",
    "RELEASE finality_turn",
    "ROLLBACK TO finality_turn",
    "ATTACH ':memory:' AS other",
    "PRAGMA synchronous = OFF",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA foreign_keys = OFF",
    "PRAGMA writable_schema = ON",
    "DELETE FROM finality_event",
    "UPDATE FINALITY_STREAM SET rowid = 0",
    "INSERT INTO finality_witness DEFAULT VALUES",
    "DROP TABLE finality_lock",
    "ALTER TABLE finality_node RENAME TO mine",
    "CREATE INDEX mine ON finality_event (data)",
    "CREATE TRIGGER mine AFTER INSERT ON finality_event BEGIN SELECT 1; END",
    "CREATE TEMP TABLE finality_event (a)",
    "CREATE TABLE Finality_mine (a)",
]


@pytest.mark.parametrize("statement", REFUSED)
def test_a_statement_that_would_break_a_promise_is_refused(embedded: World, statement: str) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)

        def work(tx: HomeTransaction) -> None:
            insert(1)(tx)
            append_to("a", 1)(tx)
            tx.execute(statement)

        outcomes = await do_all(home, insert(0), work, insert(2))

        assert isinstance(outcomes[1], StatementRefused), outcomes
        assert await items(home) == [0, 2]
        assert (await home.page()).events == []

    embedded.run(main)


ALLOWED = [
    "CREATE TABLE other (a)",
    "CREATE INDEX item_name ON item (name)",
    "CREATE TEMP TABLE scratch (a)",
    "CREATE TRIGGER log AFTER DELETE ON item BEGIN DELETE FROM part; END",
    "ALTER TABLE item ADD COLUMN price",
    "DROP TABLE part",
    "WITH RECURSIVE t (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 3) SELECT * FROM t",
    "PRAGMA defer_foreign_keys = ON",
    "PRAGMA table_info (item)",
    "SELECT name FROM pragma_table_info('item')",
    "INSERT INTO item (n) VALUES (1) RETURNING n",
    "SELECT count(*) FROM finality_witness",
]


@pytest.mark.parametrize("statement", ALLOWED)
def test_a_statement_that_breaks_nothing_is_run(embedded: World, statement: str) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)

        await do(home, execute(statement))

        assert await do(home, append_to("a", 1)) == 1

    embedded.run(main)


@pytest.mark.parametrize(
    "statement",
    ["BEGIN", "SAVEPOINT a", "INSERT INTO item (n) VALUES (1)", "PRAGMA query_only = OFF", "DROP TABLE item"],
)
def test_a_query_cannot_write_or_hold_a_snapshot(embedded: World, statement: str) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)

        with pytest.raises(StatementRefused):
            await home.query(statement)
        await do(home, insert(7))

        assert await items(home) == [7]

    embedded.run(main)
