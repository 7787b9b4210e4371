"""While a branch is in doubt nobody else writes the file, with whatever program; afterwards anybody does."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import apsw
import pytest

import finality
from finality.core.errors import Conflict, Unavailable
from finality.core.two_phase import Decision, Vote
from tests.integration.foreign import client
from tests.integration.sqlite_branches import Bank, committed, id_of, prepared, run, worked

ACCOUNT = "CREATE TABLE account (id TEXT PRIMARY KEY, n INTEGER)"
TWO = "INSERT INTO account VALUES ('a', 100), ('b', 0)"
PAY = "UPDATE account SET n = n - 30 WHERE id = 'a'"

WRITES = [
    "INSERT INTO account VALUES ('c', 1)",
    "INSERT OR IGNORE INTO account VALUES ('c', 1)",
    "INSERT OR REPLACE INTO account VALUES ('a', 1)",
    "INSERT INTO account VALUES ('a', 1) ON CONFLICT DO UPDATE SET n = 1",
    "UPDATE account SET n = 1 WHERE id = 'a'",
    "UPDATE OR IGNORE account SET n = 1",
    "DELETE FROM account",
    "INSERT INTO other VALUES (1)",  # A table that the branch may have read.
    "DELETE FROM keyless",
]


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    keyless = "CREATE TABLE keyless (x)"
    return Bank(
        tmp_path / "bank.db", ACCOUNT, TWO, "CREATE TABLE other (id INTEGER PRIMARY KEY)", keyless,
        "INSERT INTO keyless VALUES (1)",
    )  # fmt: skip


@pytest.mark.parametrize("decision", [*Decision])
def test_a_foreign_program_cannot_write_until_it_is_decided(bank: Bank, decision: Decision) -> None:
    before = bank.dump()

    async def story() -> None:
        async with bank.opened() as participant:
            await prepared(participant, "t1", PAY)
            for write in WRITES:
                with pytest.raises(sqlite3.IntegrityError, match="finality: a transaction in doubt"):
                    bank.sql(write)

            assert bank.dump() == before

            await participant.finish(id_of("t1"), decision)
        for write in WRITES[2:]:
            bank.sql(write)

    run(story())

    assert bank.dump()["other"] == [(1,)]


def test_who_has_read_before_the_vote_cannot_write_after_it(bank: Bank) -> None:
    async def story() -> None:
        async with bank.opened() as participant:
            with client(bank.path) as other:
                other.execute("BEGIN")
                other.execute("SELECT * FROM account")
                await prepared(participant, "t1", PAY)
                with pytest.raises(sqlite3.OperationalError, match="locked"):
                    other.execute("UPDATE account SET n = n - 80 WHERE id = 'a'")
                other.execute("ROLLBACK")
            await participant.finish(id_of("t1"), Decision.COMMIT)

    run(story())

    assert bank.dump()["account"] == [("a", 70), ("b", 0)]


def test_tables_that_come_later_and_change_their_names_are_kept_from_others_too(bank: Bank) -> None:
    async def story() -> None:
        async with bank.opened() as participant:
            await committed(participant, "t1", PAY)
            bank.sql(
                "ALTER TABLE account RENAME TO konto",
                "CREATE TABLE account (id INTEGER PRIMARY KEY)",
                "DROP TABLE other",
                "CREATE TABLE young (id INTEGER PRIMARY KEY)",
            )
            await prepared(participant, "t2", "UPDATE konto SET n = 0")
            for table in ("konto", "account", "young", "keyless"):
                with pytest.raises(sqlite3.IntegrityError, match="finality"):
                    bank.sql(f"INSERT INTO {table} DEFAULT VALUES")
            await participant.finish(id_of("t2"), Decision.COMMIT)

    run(story())

    assert bank.dump()["konto"] == [("a", 0), ("b", 0)]


def test_a_node_on_the_same_file_hears_which_transaction_it_is_and_goes_on_with_its_own(bank: Bank) -> None:
    async def story() -> None:
        async with bank.opened() as participant, finality.open_async(f"sqlite:///{bank.path}") as node:
            await prepared(participant, "t1", PAY)
            with pytest.raises(Conflict, match="transaction t1 was in doubt"):
                async with node.transaction() as tx:
                    await tx.execute("UPDATE account SET n = 0")
            async with node.transaction() as tx:
                await tx.publish("news", "its own tables are open")

            assert await node.query("SELECT n FROM account") == [(100,), (0,)]

            await participant.finish(id_of("t1"), Decision.COMMIT)
            async with node.transaction() as tx:
                await tx.execute("UPDATE account SET n = n + 1")

            assert await node.query("SELECT n FROM account") == [(71,), (1,)]

    run(story())


def tamper(bank: Bank, *statements: str) -> None:
    """Change the file as somebody who knows how to get past triggers; SQLite must be the same library."""
    connection = apsw.Connection(str(bank.path))
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
    for statement in statements:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    "harm, repair, told",
    [
        ("UPDATE account SET n = 1 WHERE id = 'a'", "UPDATE account SET n = 100 WHERE id = 'a'", "account"),
        ("DELETE FROM account WHERE id = 'a'", "INSERT INTO account VALUES ('a', 100)", "account"),
        ("ALTER TABLE account RENAME TO k", "ALTER TABLE k RENAME TO account", "columns of account"),
        ("ALTER TABLE account RENAME n TO m", "ALTER TABLE account RENAME m TO n", "columns of account"),
    ],
)
def test_a_change_past_the_triggers_is_noticed_and_never_overwritten(
    bank: Bank, harm: str, repair: str, told: str
) -> None:
    async def story() -> None:
        async with bank.opened() as participant:
            await prepared(participant, "t1", PAY)
            tamper(bank, harm)
            harmed = bank.dump()
            for _ in range(2):
                with pytest.raises(Unavailable, match=told):
                    await participant.finish(id_of("t1"), Decision.COMMIT)

                assert bank.dump() == harmed
                assert len(await participant.in_doubt()) == 1

            tamper(bank, repair)

            assert await participant.finish(id_of("t1"), Decision.COMMIT) is Decision.COMMIT

    run(story())

    assert bank.dump()["account"] == [("a", 70), ("b", 0)]


def test_a_column_that_is_added_meanwhile_does_no_harm(bank: Bank) -> None:
    async def story() -> None:
        async with bank.opened() as participant:
            await prepared(participant, "t1", PAY)
            bank.sql("ALTER TABLE account ADD COLUMN note TEXT DEFAULT '-'", "CREATE INDEX i ON account (n)")

            assert await participant.finish(id_of("t1"), Decision.COMMIT) is Decision.COMMIT

    run(story())

    assert bank.dump()["account"] == [("a", 70, "-"), ("b", 0, "-")]


def test_a_foreign_writer_is_waited_for(bank: Bank) -> None:
    async def story() -> None:
        async with bank.opened() as participant:
            with client(bank.path) as other:
                other.execute("BEGIN IMMEDIATE")
                other.execute("UPDATE account SET n = 500 WHERE id = 'a'")
                with pytest.raises(Conflict, match="somebody else writes to it"):
                    await participant.begin(id_of("t1"), deadline=participant.now() + 0.05)
                other.execute("COMMIT")
            branch = await worked(participant, "t1", PAY)

            assert await branch.prepare() is Vote.YES

            with client(bank.path) as other:  # It takes the turn, and cannot write.
                other.execute("BEGIN IMMEDIATE")
                other.execute("COMMIT")
            await participant.finish(id_of("t1"), Decision.COMMIT)

    run(story())

    assert bank.dump()["account"] == [("a", 470), ("b", 0)]
