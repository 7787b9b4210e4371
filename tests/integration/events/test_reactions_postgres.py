"""Reactions in a PostgreSQL home: transactions at once, where SQLite has turns."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

import finality
from finality.node.kits import kit_of
from finality.runtime.inbox import Arrived
from finality.runtime.reacting import Reacting
from finality.testing import PostgresServer
from tests.integration.events.kit import TOPIC, Placed, arrived, own_broker, place
from tests.integration.kit import effects, eventually

pytestmark = pytest.mark.slow

KEYS, EVENTS = 5, 40


def note(tx: finality.SyncTx, placed: Placed) -> None:
    tx.execute("INSERT INTO effect VALUES ($1)", f"{placed.order}{placed.number}")


async def note_async(tx: finality.Tx, placed: Placed) -> None:
    await tx.execute("INSERT INTO effect VALUES ($1)", f"{placed.order}{placed.number}")


@pytest.mark.parametrize("function", [note, note_async])
def test_each_event_takes_effect_once_and_in_order(finality_postgres: PostgresServer, function: Any) -> None:
    reaction = finality.react(TOPIC, by="stock")(function)
    url = finality_postgres.database()

    async def scenario() -> None:
        broker = own_broker()
        async with finality.open_async(url, broker=broker, reactions=[reaction]) as node:
            await node.run(lambda tx: tx.execute("CREATE TABLE effect (what text, rowid serial)"))
            await place(node, *(f"{number % KEYS}-" for number in range(EVENTS)))

            async def all_noted() -> bool:
                return len(await effects(node)) == EVENTS

            await eventually(all_noted)
            code = finality.react(TOPIC, by="again")(function).code
            events = await arrived(broker, EVENTS)
            again = [
                Reacting(kit_of(node._insides.context)).react(
                    code, [Arrived(code.reader, event, Placed(event.key, number))]
                )
                for number, event in list(enumerate(events)) * 2
            ]
            found = await asyncio.gather(*again, return_exceptions=True)
            noted = await effects(node)

        for key in range(KEYS):
            own = [int(what.split("-")[1]) for what in noted[:EVENTS] if what.startswith(f"{key}-")]
            assert own == sorted(own)
        assert len(noted) == 2 * EVENTS
        assert Counter(map(str, found))["[<Verdict.DONE: 'done'>]"] == EVENTS

    asyncio.run(scenario())
