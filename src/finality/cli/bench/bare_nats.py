"""Bare JetStream by nats-py: publishes in flight together, a batch at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import nats
from nats.js.api import StorageType

BATCH = 500


async def publish(url: str, topic: str, events: Sequence[tuple[str, bytes]]) -> None:
    """Store *events*."""
    client = await nats.connect(url)
    stream = client.jetstream()
    await stream.add_stream(name=topic, subjects=[f"{topic}.*"], storage=StorageType.FILE)
    for begin in range(0, len(events), BATCH):
        batch = events[begin : begin + BATCH]
        await asyncio.gather(*(stream.publish(f"{topic}.{key}", data) for key, data in batch))
    await client.close()
