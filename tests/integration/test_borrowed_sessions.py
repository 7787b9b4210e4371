"""Sessions of SQLAlchemy and psycopg as branches: what the libraries pass over in silence is looked at."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import finality
from finality.adapters.borrowed import BorrowingParticipant, SessionBranch
from finality.adapters.postgres.borrowed import BorrowedBranch, TransactionEnded
from finality.adapters.system.environment import SystemEnvironment
from finality.core.errors import DefinitionError, Refused
from finality.core.ids import TransactionId
from finality.core.two_phase import Decision, Vote
from finality.ports.participant import BranchId
from finality.testing import PostgresServer


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"
    n: Mapped[int] = mapped_column(primary_key=True)


def async_engine(url: str, driver: str) -> AsyncEngine:
    return create_async_engine(
        url.replace("postgresql:", f"postgresql+{driver}:"), pool_size=1, max_overflow=0
    )


def sync_engine(url: str) -> Engine:
    return create_engine(url.replace("postgresql:", "postgresql+psycopg:"), pool_size=1, max_overflow=0)


Make = Callable[[str], tuple[BorrowingParticipant, Any]]


def of_engine(engine: Any) -> tuple[BorrowingParticipant, Any]:
    return finality.sqlalchemy(engine, name="bank"), engine


KINDS: dict[str, Make] = {
    "sqlalchemy-asyncpg": lambda url: of_engine(async_engine(url, "asyncpg")),
    "sqlalchemy-psycopg": lambda url: of_engine(async_engine(url, "psycopg")),
    "sqlalchemy-sync": lambda url: of_engine(sync_engine(url)),
    "psycopg-async": lambda url: (finality.psycopg(url, name="bank"), None),
    "psycopg-sync": lambda url: (finality.psycopg(url, name="bank", is_async=False), None),
}


class Bank:
    """A participant on a database of its own, and its engine if it has one."""

    def __init__(self, server: PostgresServer, kind: str) -> None:
        self.url = server.database()
        self.kind = kind
        self.sql("CREATE TABLE item (n integer PRIMARY KEY)")
        self.participant, self.engine = KINDS[kind](self.url)

    def sql(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def items(self) -> list[int]:
        return [n for (n,) in self.sql("SELECT n FROM item ORDER BY n")]

    async def execute(self, branch: SessionBranch, sql: str) -> None:
        answer = branch.session.execute(sql if self.kind.startswith("psycopg") else text(sql))
        if asyncio.iscoroutine(answer):
            await answer

    async def begin(self, id: str) -> SessionBranch:
        return await self.participant.begin(BranchId("h0me", TransactionId(id), "bank"))

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[BorrowingParticipant]:
        await self.participant.open(SystemEnvironment())
        try:
            yield self.participant
            if self.engine is not None:
                assert self.engine.pool.checkedout() == 0  # Every connection has come back.
        finally:
            await self.participant.close()
            disposed = self.engine.dispose() if self.engine is not None else None
            if disposed is not None:
                await disposed


def run(story: Any) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await story

    asyncio.run(bounded())


@pytest.fixture(params=KINDS)
def bank(request: pytest.FixtureRequest, finality_postgres: PostgresServer) -> Bank:
    return Bank(finality_postgres, request.param)


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

    run(story())

    assert bank.items() == [0, 9]


def test_a_failure_that_was_swallowed_makes_the_vote_no(bank: Bank) -> None:
    """The server would answer ROLLBACK to the prepare, without an error."""

    async def story() -> None:
        async with bank.opened() as participant:
            for end in ("prepare", "commit"):
                branch = await bank.begin(end)
                await bank.execute(branch, "INSERT INTO item VALUES (1)")
                with contextlib.suppress(Exception):
                    await bank.execute(branch, "SELECT 1 / 0")
                with pytest.raises(Refused, match="bank says no"):
                    await getattr(branch, end)()

            assert list(await participant.in_doubt()) == []

    run(story())

    assert bank.items() == []


def test_the_tag_is_looked_at(bank: Bank) -> None:
    async def story() -> None:
        async with bank.opened():
            for sql, tag in (("PREPARE TRANSACTION 'x'", "PREPARE TRANSACTION"), ("COMMIT", "COMMIT")):
                branch = await bank.begin(tag)
                with contextlib.suppress(Exception):
                    await bank.execute(branch, "SELECT 1 / 0")
                # Without the witness, which the server would refuse before.
                with pytest.raises(TransactionEnded, match=f"it answered ROLLBACK to {tag}"):
                    await cast(BorrowedBranch, branch)._last(sql, tag)
                await branch.abort()

    run(story())

    assert bank.sql("SELECT gid FROM pg_prepared_xacts WHERE gid = 'x'") == []


def test_what_cannot_be_prepared_is_told_in_the_servers_words(bank: Bank) -> None:
    async def story() -> None:
        async with bank.opened():
            branch = await bank.begin("t1")
            await bank.execute(branch, "INSERT INTO item VALUES (1)")
            await bank.execute(branch, "NOTIFY news")
            with pytest.raises(Refused, match="NOTIFY"):
                await branch.prepare()

    run(story())

    assert bank.items() == []


def test_a_transaction_that_a_statement_has_ended_is_noticed(bank: Bank) -> None:
    async def story() -> None:
        async with bank.opened():
            branch = await bank.begin("t1")
            with contextlib.suppress(Exception):
                await bank.execute(branch, "ROLLBACK")
            with pytest.raises(Refused):
                await branch.prepare()

    run(story())


def test_what_only_read_leaves_at_the_vote(bank: Bank) -> None:
    async def story() -> None:
        async with bank.opened():
            branch = await bank.begin("t1")
            await bank.execute(branch, "SELECT * FROM item")

            assert await branch.prepare() is Vote.READ_ONLY

    run(story())


def test_commits_and_rollbacks_of_the_session_are_of_savepoints(finality_postgres: PostgresServer) -> None:
    """So code that was written for a session of its own works in a branch."""
    bank = Bank(finality_postgres, "sqlalchemy-asyncpg")

    async def story() -> None:
        async with bank.opened() as participant:
            branch = await bank.begin("t1")
            session = branch.session
            session.add(Item(n=1))
            await session.commit()
            session.add(Item(n=2))
            await session.flush()
            await session.rollback()
            session.add(Item(n=3))  # The session begins anew by itself, and holds this back.

            assert bank.items() == []
            assert await branch.prepare() is Vote.YES

            await participant.finish(branch.id, Decision.COMMIT)

    run(story())

    assert bank.items() == [1, 3]


def test_psycopg_refuses_to_end_a_branch(finality_postgres: PostgresServer) -> None:
    bank = Bank(finality_postgres, "psycopg-async")

    async def story() -> None:
        async with bank.opened():
            branch = await bank.begin("t1")
            for end in (branch.session.commit, branch.session.rollback):
                with pytest.raises(psycopg.ProgrammingError):
                    await end()
            await branch.abort()

    run(story())


def test_a_blocking_session_in_a_block_of_a_synchronous_node(
    finality_postgres: PostgresServer, tmp_path: Path
) -> None:
    bank = Bank(finality_postgres, "sqlalchemy-sync")
    till = finality.sqlite(tmp_path / "till.db", name="till")

    def sell(node: finality.Node, n: int) -> None:
        with node.transaction() as tx:
            tx.enlist(bank.participant).session.add(Item(n=n))
            tx.enlist(till).execute("INSERT INTO sold VALUES ($1)", n)

    with finality.open(f"sqlite:///{tmp_path}/till.db") as owner:
        owner.run(lambda tx: tx.execute("CREATE TABLE sold (n INTEGER PRIMARY KEY CHECK (n < 3))"))
    with finality.open(f"sqlite:///{tmp_path}/home.db", participants=[bank.participant, till]) as node:
        sell(node, 1)
        with pytest.raises(Refused):
            sell(node, 4)
        sell(node, 2)
    bank.engine.dispose()

    assert bank.items() == [1, 2]
    assert bank.sql("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()") == []


def test_an_engine_of_another_database_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"sqlite\+pysqlite cannot take part"):
        finality.sqlalchemy(create_engine("sqlite://"), name="bank")
