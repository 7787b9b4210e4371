"""Sessions of SQLAlchemy on MariaDB as branches: what its XA does that nobody else's does."""

from __future__ import annotations

import pytest

from finality.core.two_phase import Decision, Vote
from finality.ports.store import StatementRefused
from finality.testing import MariaDbServer
from tests.conformance.participants.worlds import run
from tests.integration.borrowed_kit import MARIADB, Bank, MariaDbBank


@pytest.fixture(params=MARIADB)
def bank(request: pytest.FixtureRequest, finality_mariadb: MariaDbServer) -> Bank:
    return MariaDbBank(finality_mariadb, request.param)


def test_a_branch_that_has_only_locked_is_prepared(bank: Bank) -> None:
    async def story() -> None:
        async with bank.opened() as participant:
            locker = await bank.begin("locker")
            await bank.execute(locker, "SELECT n FROM item FOR UPDATE")

            assert await locker.prepare() is Vote.YES

            await participant.finish(locker.id, Decision.ABORT)

    run(story())


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
                    await bank.execute(branch, sql)
            await bank.execute(branch, "INSERT INTO item VALUES (1)")
            await branch.commit()

    run(story())

    assert bank.items() == [1]
