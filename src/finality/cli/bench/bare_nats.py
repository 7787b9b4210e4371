"""Bare JetStream by nats-py: publishes in flight together, a batch at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import nats
from nats.js.api import StorageType

from finality.cli.bench.bare import Bare, batches


async def publish(url: str, topic: str, events: Sequence[Bare]) -> None:
    """Store *events*."""
    client = await nats.connect(url)
    stream = client.jetstream()
    await stream.add_stream(name=topic, subjects=[f"{topic}.*"], storage=StorageType.FILE)
    for batch in batches(events):
        sent = [
            stream.publish(
                f"{topic}.{key}", data, headers={f"ce-{name}": value for name, value in attributes.items()}
            )
            for key, attributes, data in batch
        ]
        await asyncio.gather(*sent)
    await client.close()
