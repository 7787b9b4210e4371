"""The consumer of the relay's bench, in a process of its own: ``python -m … URL TOPIC COUNT PINGS``."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from threading import Thread

from finality.adapters.system.environment import SystemEnvironment
from finality.node.brokers import broker_at
from finality.runtime.consumer import Acks


async def consume(url: str, topic: str, count: int, pings: int) -> None:
    """Take and acknowledge so many events and say when; then say of so many more how late each came."""
    broker = broker_at(url)
    await broker.open(SystemEnvironment())
    partitions = await broker.declare(topic)
    subscription = await broker.subscribe(topic, "bench", range(partitions))
    print(json.dumps("ready"), flush=True)
    acks = Acks(subscription)  # As a node does: the next events are taken meanwhile.
    seen: set[str] = set()
    while len(seen) < count:
        taken = await subscription.take(500)
        acks.put(taken)
        seen.update(delivery.envelope.id for delivery in taken)
    await acks.close()
    print(json.dumps({"done_at": time.time(), "events": len(seen)}), flush=True)
    late: list[float] = []
    while len(late) < pings:
        for delivery in await subscription.take():
            late.append(time.time() - json.loads(delivery.envelope.data)["at"])
            await subscription.ack([delivery])
    print(json.dumps({"late": late}), flush=True)
    await broker.close()


def end_with_parent() -> None:
    """Wait until nobody can say anything to us any more: the bench has ended, however it did."""
    sys.stdin.read()
    os._exit(1)  # In a thread beside one that waits for events which nobody publishes.


if __name__ == "__main__":
    Thread(target=end_with_parent, daemon=True).start()
    asyncio.run(consume(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
