"""PostgreSQL as a home: a take-over while the driver, which is late, goes on telling."""

from __future__ import annotations

import asyncio

import pytest

from finality.adapters.postgres.home import PostgresHome, open_home
from finality.adapters.system.environment import SystemEnvironment
from finality.core.ids import NodeId
from finality.core.saga.events import TakenOver
from finality.ports.home import HomeTransaction
from finality.testing import PostgresServer
from tests.conformance.worlds import TRIP, append, begin, codec, prepare, renew
from tests.conformance.worlds import do as turn
from tests.integration.kit import eventually
from tests.integration.test_postgres_home import with_home

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("postgres"), pytest.mark.timeout(60)]


def test_a_take_over_leaves_what_is_told_meanwhile_for_the_next_time(
    finality_postgres: PostgresServer,
) -> None:
    """Its driver is late, and appends without a change of the head; that hurts none of its neighbours."""

    async def main(home: PostgresHome) -> None:
        await prepare(home, "n1")
        keys = [await begin(home, f"t{n}", driver="n1") for n in range(3)]
        other = await open_home(home.url, SystemEnvironment(), codec())
        await turn(other, renew("n2", until=9e9))
        scope = home.scope("a step")
        await scope.call(append(keys[1], 1, None))
        await scope.call(lambda tx: tx.lock_holder("a seat"))  # Before it looks, it sends what is pending.

        def take(tx: HomeTransaction) -> int:
            return tx.take_over(NodeId("n2"), TRIP, expired_before=9e9, limit=9)

        taking = asyncio.ensure_future(turn(other, take))
        await eventually(lambda: home.query("SELECT 1 FROM pg_locks WHERE NOT granted"), "it waits")
        await scope.commit()

        assert (await taking, await turn(other, take), await turn(other, take)) == (2, 1, 0)
        assert [(await other.head(key)).version for key in keys] == [2, 3, 2]
        assert [(await other.load(key))[-1].event for key in keys] == [TakenOver("n2", "n1")] * 3
        await other.close()

    with_home(finality_postgres, main)
