"""A consumer that is a process of its own: it takes, acknowledges some, and dies as from kill -9."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
from pathlib import Path

from finality.adapters.system.environment import SystemEnvironment
from finality.ports.broker import Broker
from tests.conformance.brokers.worlds import ALL, GROUP, take


def broker_of(code: str) -> Broker:
    """Return the connection that ``module:expression`` makes."""
    module, _, expression = code.partition(":")
    made: Broker = eval(expression, vars(importlib.import_module(module)))
    return made


def live_and_die(code: str, topic: str, takes: int, acks: int, done: Path) -> None:
    """Write down what was acknowledged, one body a line, and die."""
    asyncio.run(_live(code, topic, takes, acks, done))


async def _live(code: str, topic: str, takes: int, acks: int, done: Path) -> None:
    broker = broker_of(code)
    await broker.open(SystemEnvironment())
    subscription = await broker.subscribe(topic, GROUP, ALL)
    taken = await take(subscription, takes)
    await subscription.ack(taken[:acks])
    await asyncio.to_thread(done.write_bytes, b"\n".join(each.envelope.data for each in taken[:acks]))
    os.kill(os.getpid(), signal.SIGKILL)
