"""Sessions on PostgreSQL as branches: what the libraries pass over in silence is looked at."""

from __future__ import annotations

import contextlib
from typing import cast

import psycopg
import pytest

from finality.adapters.postgres.borrowed import BorrowedBranch, TransactionEnded
from finality.core.errors import Refused
from finality.testing import PostgresServer
from tests.conformance.participants.worlds import run
from tests.integration.borrowed_kit import POSTGRES, Bank, PostgresBank


@pytest.fixture(params=POSTGRES)
def bank(request: pytest.FixtureRequest, finality_postgres: PostgresServer) -> Bank:
    return PostgresBank(finality_postgres, request.param)


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


def test_psycopg_refuses_to_end_a_branch(finality_postgres: PostgresServer) -> None:
    bank = PostgresBank(finality_postgres, "psycopg")

    async def story() -> None:
        async with bank.opened():
            branch = await bank.begin("t1")
            for end in (branch.session.commit, branch.session.rollback):
                with pytest.raises(psycopg.ProgrammingError):
                    await end()
            await branch.abort()

    run(story())
