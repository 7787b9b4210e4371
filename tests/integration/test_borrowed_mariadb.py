"""Sessions of SQLAlchemy on MariaDB as branches: by asyncmy, and by PyMySQL, which blocks."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import finality
from finality.adapters.borrowed import SessionBranch
from finality.adapters.system.environment import SystemEnvironment
from finality.core.errors import Refused
from finality.core.two_phase import Decision, Vote
from finality.ports.store import StatementRefused
from finality.testing import MariaDbServer
from tests.conformance.participants.worlds import id_of, run


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"
    n: Mapped[int] = mapped_column(primary_key=True)


class Bank:
    """A participant on a database of its own, and its engine."""

    def __init__(self, server: MariaDbServer, driver: str) -> None:
        self.server = server
        url = make_url(server.database())
        self.database = url.database or ""
        self.sql(
            "CREATE TABLE item (n integer PRIMARY KEY) ENGINE = InnoDB",
            "CREATE TABLE notes (n integer) ENGINE = MyISAM",
        )
        url = url.set(drivername=f"mysql+{driver}")
        self.engine: Any = (
            create_async_engine(url, pool_size=1, max_overflow=0)
            if driver == "asyncmy"
            # PyMySQL would read the system's certificates for each connection.
            else create_engine(url, pool_size=1, max_overflow=0, connect_args={"ssl_disabled": True})
        )
        self.participant = finality.sqlalchemy(self.engine, name="bank")

    def sql(self, *statements: str) -> list[list[str]]:
        return self.server.sql(*statements, database=self.database)

    def items(self) -> list[int]:
        return [int(n) for (n,) in self.sql("SELECT n FROM item ORDER BY n")]

    async def begin(self, id: str) -> SessionBranch:
        return await self.participant.begin(id_of(id))

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Any]:
        await self.participant.open(SystemEnvironment())
        try:
            yield self.participant
            assert self.engine.pool.checkedout() == 0  # Every connection has come back.
        finally:
            await self.participant.close()
            await done(self.engine.dispose())


async def done(answer: Any) -> Any:
    """Return what a session of either kind answers."""
    return await answer if inspect.isawaitable(answer) else answer


async def execute(branch: SessionBranch, sql: str) -> None:
    await done(branch.session.execute(text(sql)))


@pytest.fixture(params=["asyncmy", "pymysql"])
def bank(request: pytest.FixtureRequest, finality_mariadb: MariaDbServer) -> Bank:
    return Bank(finality_mariadb, request.param)


def test_its_work_is_a_branch(bank: Bank) -> None:
    async def story() -> None:
        async with bank.opened() as participant:
            for n, decision in enumerate(Decision):
                branch = await bank.begin(f"t{n}")
                await execute(branch, f"INSERT INTO item VALUES ({n})")

                assert await branch.prepare() is Vote.YES
                assert bank.items() == [0] * n
                assert [found.branch for found in await participant.in_doubt()] == [branch.id]
                assert await participant.finish(branch.id, decision) is decision

            alone = await bank.begin("alone")
            await execute(alone, "INSERT INTO item VALUES (9)")
            await alone.commit()

            assert await participant.settle(alone.id) is Decision.COMMIT

            reader = await bank.begin("reader")
            await execute(reader, "SELECT n FROM item")

            assert await reader.prepare() is Vote.READ_ONLY

            locker = await bank.begin("locker")
            await execute(locker, "SELECT n FROM item FOR UPDATE")

            assert await locker.prepare() is Vote.YES

            await participant.finish(locker.id, Decision.ABORT)

    run(story())

    assert bank.items() == [0, 9]


def test_a_failure_that_was_swallowed_makes_the_vote_no(bank: Bank) -> None:
    """The server would prepare the rest."""

    async def story() -> None:
        async with bank.opened() as participant:
            for end in ("prepare", "commit"):
                branch = await bank.begin(end)
                await execute(branch, "INSERT INTO item VALUES (1)")
                with contextlib.suppress(DBAPIError):
                    await execute(branch, "INSERT INTO item VALUES (1)")
                with pytest.raises(
                    Refused, match=r"a statement of branch .* has failed: 'INSERT INTO item.*begin_nested"
                ):
                    await getattr(branch, end)()

            assert list(await participant.in_doubt()) == []

    run(story())

    assert bank.items() == []


def test_commits_and_rollbacks_of_the_session_are_of_savepoints(bank: Bank) -> None:
    """So code that was written for a session of its own works in a branch, and undoes what has failed."""

    async def story() -> None:
        async with bank.opened() as participant:
            branch = await bank.begin("t1")
            session = branch.session
            session.add(Item(n=1))
            await done(session.commit())
            session.add_all([Item(n=2), Item(n=1)])
            with pytest.raises(DBAPIError):
                await done(session.flush())
            await done(session.rollback())
            session.add(Item(n=3))  # The session begins anew by itself, and holds this back.

            assert bank.items() == []
            assert await branch.prepare() is Vote.YES

            await participant.finish(branch.id, Decision.COMMIT)

            late = await bank.begin("t2")
            late.session.add(Item(n=1))
            with pytest.raises(Refused, match=r"bank says no: .*Duplicate entry"):
                await late.prepare()

    run(story())

    assert bank.items() == [1, 3]


def test_what_xa_does_not_take_back_is_refused_and_harms_nothing(bank: Bank) -> None:
    async def story() -> None:
        async with bank.opened():
            branch = await bank.begin("t1")
            for sql, why in (
                ("INSERT INTO notes VALUES (1)", "engine MyISAM"),
                ("CREATE TABLE t (n integer)", "commit by itself"),
                ("COMMIT", "ends the branch"),
                ("SET @a = 1", "outlives"),
            ):
                with pytest.raises(StatementRefused, match=why):
                    await execute(branch, sql)
            await execute(branch, "INSERT INTO item VALUES (1)")
            await branch.commit()

    run(story())

    assert bank.items() == [1]


@pytest.mark.slow
def test_a_blocking_session_in_a_block_of_a_synchronous_node(
    finality_mariadb: MariaDbServer, tmp_path: Path
) -> None:
    bank = Bank(finality_mariadb, "pymysql")
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
    assert bank.sql("XA RECOVER") == []
