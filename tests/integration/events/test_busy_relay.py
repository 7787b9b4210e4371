"""A relay that is never idle: one page follows the other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import finality
from finality.adapters.memory.broker import MemoryBroker
from finality.core.envelope import Envelope
from finality.core.errors import FinalityError
from finality.core.placement import partition_of
from finality.ports.events import SHARES
from tests.integration.events.kit import TOPIC, Placed, arrived, own_broker, place, relaying, stored
from tests.integration.kit import MovedClock, eventually, url_of


class Endless(MemoryBroker):
    """A broker that is never done: as long as there is a node to ask, each batch brings one more event."""

    KEY = next(f"k{n}" for n in range(1_000) if partition_of(f"{TOPIC}/k{n}", SHARES) == 0)

    def __init__(self) -> None:
        super().__init__(own_broker().topics)
        self.node: finality.AsyncNode | None = None

    async def publish(self, events: Sequence[Envelope]) -> list[FinalityError | None]:
        if self.node is not None:
            await place(self.node, "more", key=self.KEY)
        return await super().publish(events)


def test_a_share_that_never_rests_forgets_what_is_old_and_sends_what_is_due(tmp_path: Path) -> None:
    async def story() -> None:
        clock, broker = MovedClock(), Endless()
        async with relaying(url_of(tmp_path), broker, environment=clock) as (node, _):
            await place(node, "old", key=Endless.KEY)
            await arrived(broker, 1)
            broker.node = node
            await node.run(lambda tx: tx.publish(TOPIC, Placed("due"), key="due", delay=timedelta(days=4)))
            await place(node, "first", key=Endless.KEY)
            clock.move(days=5)

            async def has_kept_house() -> bool:
                rows = await node.query("SELECT min(position) FROM finality_outbox")
                return rows[0][0] > 1 and "due" in [event.key for event in await stored(broker)]

            await eventually(has_kept_house)

            old = await node.query("SELECT id FROM finality_outbox WHERE position = 1")
            assert [*old] == []
            broker.node = None

    asyncio.run(story())
