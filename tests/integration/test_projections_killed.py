"""A node that keeps and rebuilds a projection is killed at every crash point: nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import signal
from datetime import timedelta
from pathlib import Path

import pytest

import finality
from tests.core.accounts import Account, Deposited
from tests.integration.kit import MovedClock, eventually, url_of
from tests.integration.processes import process

pytestmark = pytest.mark.slow

EVENTS = 250  # Three commits of an async function.
LEASE = timedelta(seconds=3)
CODE = """
    @dataclass(frozen=True)
    class Deposited:
        amount: int

    @finality.project(into="log", create="CREATE TABLE {log} (amount BIGINT)")
    async def log(tx: finality.Tx, moved: Deposited) -> None:
        await tx.execute("INSERT INTO {log} VALUES (%d)" % moved.amount)

    async def main():
        environment = Dying(sys.argv[3], int(sys.argv[4]))
        async with finality.open_async(sys.argv[2], projections=[log], environment=environment) as node:
            environment.is_armed = True
            await node.wait_for(await node.token(), "log")
            await node.rebuild("log")
            while (await node.projections())[0].generation < 2:
                await asyncio.sleep(0.01)

    asyncio.run(main())
"""


@finality.project(into="log", create="CREATE TABLE {log} (amount BIGINT)")
async def log(tx: finality.Tx, moved: Deposited) -> None:
    await tx.execute(f"INSERT INTO {{log}} VALUES ({moved.amount})")


PASSINGS = [("projection.after", 2), ("commit.before", 6), ("commit.after", 6), ("switch.after", 1)]
SERVED = pytest.mark.xdist_group("postgres")
CASES = [
    *(("sqlite", point, times) for point, times in PASSINGS),
    pytest.param("postgres", "commit.after", 6, marks=SERVED),
    pytest.param("postgres", "switch.before", 1, marks=SERVED),
]


@pytest.mark.parametrize("kind, point, times", CASES)
def test_whoever_takes_over_loses_and_doubles_nothing(
    tmp_path: Path, kind: str, point: str, times: int, request: pytest.FixtureRequest
) -> None:
    """It is killed in the catch-up (its first three commits), in the rebuild, or in the switch."""
    served = kind == "postgres"
    url = request.getfixturevalue("finality_postgres").database() if served else url_of(tmp_path)
    clock = MovedClock()

    async def main() -> None:
        async with finality.open_async(url) as node:
            await node.append(await node.load(Account, "a"), *(Deposited(n) for n in range(EVENTS)))
        with process(tmp_path, CODE, url, point, str(times)) as victim:
            status, _, err = await asyncio.to_thread(victim.end)
        assert status == -signal.SIGKILL, err
        clock.move(minutes=1)
        async with finality.open_async(url, projections=[log], lease=LEASE, environment=clock) as node:
            await node.wait_for(await node.token(), "log")
            [state] = await node.projections()
            if state.generation == 1 and state.rebuild is None:
                await node.rebuild("log")

            async def has_switched() -> bool:
                [state] = await node.projections()
                return state.generation == 2 and state.rebuild is None

            await eventually(has_switched, "generation 2 serves")
            await node.append(await node.load(Account, "b"), Deposited(EVENTS))
            await node.wait_for(await node.token(), "log")

            found = await node.query("SELECT amount FROM log ORDER BY amount")

            assert [amount for (amount,) in found] == list(range(EVENTS + 1))

    asyncio.run(main())
