"""A reaction that takes too long holds nobody up for ever, and is named."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from pathlib import Path

import pytest

import finality
from tests.integration.events.kit import TOPIC, Placed, place, relaying
from tests.integration.kit import effects, eventually, table, url_of

pytestmark = pytest.mark.slow

NEVER = finality.Retry(attempts=1, first_seconds=3_600.0, cap_seconds=3_600.0, jitter=0.0)


def test_one_that_hangs_is_tried_again_then_parked_with_its_cause(tmp_path: Path) -> None:
    """It hangs inside of its transaction, whose write turn all others need, too."""
    attempts: list[str] = []
    twice = finality.Retry(attempts=2, first_seconds=0.0)

    @finality.react(TOPIC, by="stock", retry=twice, later=NEVER, timeout=timedelta(seconds=0.02))
    async def hang(tx: finality.Tx, placed: Placed) -> None:
        attempts.append(placed.order)
        await tx.execute("INSERT INTO effect VALUES (?)", placed.order)
        await asyncio.Event().wait()

    @finality.react(TOPIC, by="desk")
    def note(tx: finality.SyncTx, placed: Placed) -> None:
        tx.execute("INSERT INTO effect VALUES (?)", f"{placed.order} noted")

    async def story() -> None:
        async with relaying(url_of(tmp_path), reactions=[hang, note]) as (node, _):
            await table(node)
            await place(node, "slow", "behind", key="k")

            async def are_parked() -> bool:
                return len(await node.inbox.parked()) == 2 and len(await effects(node)) == 2

            await eventually(are_parked)
            slow, behind = await node.inbox.parked()
            assert (slow.attempts, slow.because) == (2, "TimeoutError('no answer within 0.02 seconds')")
            assert await effects(node) == ["slow noted", "behind noted"]
            assert (behind.attempts, attempts.count("slow"), attempts.count("behind")) == (0, 2, 0)

    asyncio.run(story())


def test_a_plain_one_that_holds_the_turn_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    @finality.react(TOPIC, by="stock")
    def compute(tx: finality.SyncTx, placed: Placed) -> None:
        threading.Event().wait(0.11)
        tx.execute("INSERT INTO effect VALUES (?)", placed.order)

    async def story() -> None:
        async with relaying(url_of(tmp_path), reactions=[compute]) as (node, _):
            await table(node)
            await place(node, "o-1")

            async def is_done() -> bool:
                return await effects(node) == ["o-1"]

            await eventually(is_done)
            [(name, seconds)] = (await node.health()).slowest_turns.values()
            assert (name, seconds > 0.1) == ("reaction compute of stock", True)

    asyncio.run(story())

    assert "reaction compute of stock held the write turn" in caplog.text
