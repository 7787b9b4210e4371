"""A consumer that is a process of its own: it takes, acknowledges some, and dies as from kill -9."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import sys

from finality.adapters.system.environment import SystemEnvironment
from finality.ports.broker import Broker
from tests.conformance.brokers.worlds import ALL, GROUP, take


def broker_of(code: str) -> Broker:
    """Return the connection that ``module:expression`` makes."""
    module, _, expression = code.partition(":")
    made: Broker = eval(expression, vars(importlib.import_module(module)))
    return made


async def live(code: str, topic: str, takes: int, acks: int) -> None:
    broker = broker_of(code)
    await broker.open(SystemEnvironment())
    subscription = await broker.subscribe(topic, GROUP, ALL)
    taken = await take(subscription, takes)
    await subscription.ack(taken[:acks])
    for each in taken[:acks]:
        os.write(1, each.envelope.data + b"\n")
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(live(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
