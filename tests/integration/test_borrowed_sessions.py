"""Sessions of SQLAlchemy and psycopg as branches, at both servers; asyncio's, and those that block."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError

import finality
from finality.core.errors import DefinitionError, Refused
from finality.core.two_phase import Decision, Vote
from tests.conformance.participants.worlds import run
from tests.integration.borrowed_kit import BLOCKING, KINDS, OF_SQLALCHEMY, Bank, Item, bank_of, done


@pytest.fixture(params=KINDS)
def bank(request: pytest.FixtureRequest) -> Bank:
    return bank_of(request)


@pytest.fixture(params=OF_SQLALCHEMY)
def mapped_bank(request: pytest.FixtureRequest) -> Bank:
    return bank_of(request)


@pytest.fixture(params=BLOCKING)
def blocking_bank(request: pytest.FixtureRequest) -> Bank:
    return bank_of(request)


def test_its_work_is_a_branch(bank: Bank) -> None:
    async def story() -> None:
        async with bank.opened() as participant:
            for n, decision in enumerate(Decision):
                branch = await bank.begin(f"t{n}")
                await bank.execute(branch, f"INSERT INTO item VALUES ({n})")

                assert await branch.prepare() is Vote.YES
                assert bank.items() == [0] * n
                assert [found.branch for found in await participant.in_doubt()] == [branch.id]
                assert await participant.finish(branch.id, decision) is decision

            alone = await bank.begin("alone")
            await bank.execute(alone, "INSERT INTO item VALUES (9)")
            await alone.commit()

            assert await participant.settle(alone.id) is Decision.COMMIT

            reader = await bank.begin("reader")
            await bank.execute(reader, "SELECT n FROM item")

            assert await reader.prepare() is Vote.READ_ONLY

    run(story())

    assert bank.items() == [0, 9]


def test_a_failure_that_was_swallowed_makes_the_vote_no(bank: Bank) -> None:
    """One server would answer ROLLBACK to the prepare, without an error; the other would prepare the rest."""

    async def story() -> None:
        async with bank.opened() as participant:
            for end in ("prepare", "commit"):
                branch = await bank.begin(end)
                await bank.execute(branch, "INSERT INTO item VALUES (1)")
                with contextlib.suppress(Exception):
                    await bank.execute(branch, "INSERT INTO item VALUES (1)")
                with pytest.raises(Refused, match=bank.swallowed):
                    await getattr(branch, end)()

            assert list(await participant.in_doubt()) == []

    run(story())

    assert bank.items() == []


def test_commits_and_rollbacks_of_the_session_are_of_savepoints(mapped_bank: Bank) -> None:
    """So code that was written for a session of its own works in a branch, and undoes what has failed."""

    async def story() -> None:
        async with mapped_bank.opened() as participant:
            branch = await mapped_bank.begin("t1")
            session = branch.session
            session.add(Item(n=1))
            await done(session.commit())
            session.add_all([Item(n=2), Item(n=1)])
            with pytest.raises(DBAPIError):
                await done(session.flush())
            await done(session.rollback())
            session.add(Item(n=3))  # The session begins anew by itself, and holds this back.

            assert mapped_bank.items() == []
            assert await branch.prepare() is Vote.YES

            await participant.finish(branch.id, Decision.COMMIT)

            late = await mapped_bank.begin("t2")
            late.session.add(Item(n=1))
            with pytest.raises(Refused, match=r"bank says no: .*[Dd]uplicate"):
                await late.prepare()

    run(story())

    assert mapped_bank.items() == [1, 3]


@pytest.mark.slow
def test_a_blocking_session_in_a_block_of_a_synchronous_node(blocking_bank: Bank, tmp_path: Path) -> None:
    till = finality.sqlite(tmp_path / "till.db", name="till")

    def sell(node: finality.Node, n: int) -> None:
        with node.transaction() as tx:
            tx.enlist(blocking_bank.participant).session.add(Item(n=n))
            tx.enlist(till).execute("INSERT INTO sold VALUES ($1)", n)

    with finality.open(f"sqlite:///{tmp_path}/till.db") as owner:
        owner.run(lambda tx: tx.execute("CREATE TABLE sold (n INTEGER PRIMARY KEY CHECK (n < 3))"))
    with finality.open(
        f"sqlite:///{tmp_path}/home.db", participants=[blocking_bank.participant, till]
    ) as node:
        sell(node, 1)
        with pytest.raises(Refused):
            sell(node, 4)
        sell(node, 2)
    blocking_bank.engine.dispose()

    assert blocking_bank.items() == [1, 2]
    assert blocking_bank.sql(blocking_bank.doubt) == []


def test_an_engine_of_another_database_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"sqlite\+pysqlite cannot take part"):
        finality.sqlalchemy(create_engine("sqlite://"), name="bank")
