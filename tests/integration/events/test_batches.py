"""A stranger's batch of CloudEvents is several events: each runs once, and all are acknowledged together."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

import finality
from finality.adapters.memory.broker import MemoryBroker
from finality.core.envelope import BATCH_TYPE, Envelope
from tests.integration.events.kit import TOPIC, Placed, own_broker
from tests.integration.kit import effects, eventually, table, url_of

ORDERS = ("a", "poison", "b", "a")  # The last one is the first once more.


def batch(*orders: str) -> Envelope:
    """Return a batch as the SDK writes its events, one of which is of a type that nobody here knows."""
    told = {"source": "/theirs", "specversion": "1.0"}
    known = [CloudEvent({**told, "id": each, "type": "Placed"}, {"order": each}) for each in orders]
    stranger = CloudEvent({**told, "id": "s", "type": "Unheard"}, {})
    events = b",".join(JSONFormat().write(each) for each in (*known, stranger))
    return Envelope("1", "broker", "", TOPIC, b"[%b]" % events, content_type=f"{BATCH_TYPE}; charset=utf-8")


@finality.react(TOPIC, by="stock", retry=finality.Retry(attempts=1))
def reaction(tx: finality.SyncTx, placed: Placed) -> None:
    if placed.order == "poison":
        raise finality.Refused("no stock")
    tx.execute("INSERT INTO effect VALUES (?)", placed.order)


async def deal_with(url: str, broker: MemoryBroker) -> list[str]:
    """Return the effects once nothing of the topic is left to deal with."""
    await broker.declare(TOPIC)
    assert await broker.publish([batch(*ORDERS), batch()._replace(data=b"[]")]) == [None, None]
    async with finality.open_async(url, broker=broker, reactions=[reaction]) as node:
        await table(node)

        async def no_lag() -> bool:
            return (await node.health()).lags == {f"stock/{TOPIC}": 0}

        await eventually(no_lag, "no lag")
        [parked] = await node.inbox.parked()
        assert (parked.envelope.id, parked.because) == ("poison", "no stock")
        return await effects(node)


def test_each_event_of_a_batch_runs_once_and_one_that_fails_is_parked_by_itself(tmp_path: Path) -> None:
    async def story() -> None:
        first = await deal_with(url_of(tmp_path), own_broker())
        assert sorted(first) == ["a", "b"]
        # A broker that has never heard that it was acknowledged.
        assert await deal_with(url_of(tmp_path), own_broker()) == first

    asyncio.run(story())
