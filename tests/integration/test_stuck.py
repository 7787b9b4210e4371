"""A saga that cannot go on alone: it says so, and a person's retry finishes it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

import finality
from finality.core.saga import events as e
from tests.integration.kit import put, table, told, url_of, within

BROKEN: list[bool] = [True]


@dataclass(frozen=True)
class Sticky(finality.Saga):
    @finality.step
    def paid(self, tx: finality.SyncTx) -> int:
        put(tx, "paid")
        return 1

    @paid.compensate(retry=finality.Retry(attempts=3, first_seconds=0.001))
    async def refunded(self, paid: int, attempt: finality.Attempt) -> None:
        if BROKEN[0]:
            raise ConnectionError(f"card expired at attempt {attempt.number}")

    @finality.step
    def sold(self, tx: finality.SyncTx, paid: int) -> int:
        raise finality.Refused("sold out")


def test_a_compensation_that_keeps_failing_is_stuck_until_a_person_retries_it(tmp_path: Path) -> None:
    async def main() -> None:
        BROKEN[0] = True
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            handle = await node.start(Sticky(), id="s")
            with pytest.raises(finality.CompensationFailed, match="card expired at attempt 3") as stuck:
                await within(handle.outcome())
            assert stuck.value.transaction_id == "s"
            assert "finality transaction retry s" in stuck.value.explain()
            with pytest.raises(finality.Stuck):  # It is known at once now.
                await within(handle.outcome())
            assert (await node.health()).statuses == {"stuck": 1}
            assert not (await node.health()).is_good

            assert await node.retry("s", because="still broken", by="ann")
            with pytest.raises(finality.Stuck, match="attempt 6"):
                await within(handle.outcome())
            BROKEN[0] = False
            assert await node.retry("s", because="new card", by="ann")
            assert await within(handle.outcome()) == finality.COMPENSATED
            assert not await node.retry("s", because="once more", by="ann")
            retried = [x for x in await told(node, "s") if isinstance(x, e.Retried)]
            assert [(x.by, x.because) for x in retried] == [("ann", "still broken"), ("ann", "new card")]

    asyncio.run(main())


def test_a_stuck_saga_is_still_stuck_after_a_restart_and_can_be_retried_then(tmp_path: Path) -> None:
    async def main() -> None:
        BROKEN[0] = True
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            with pytest.raises(finality.Stuck):
                await within((await node.start(Sticky(), id="s")).outcome())
        BROKEN[0] = False
        async with finality.open_async(url_of(tmp_path), sagas=[Sticky]) as node:
            with pytest.raises(finality.Stuck):
                await within(node.outcome("s"))
            await node.retry("s", because="new card")

            assert await within(node.outcome("s")) == finality.COMPENSATED

    asyncio.run(main())
