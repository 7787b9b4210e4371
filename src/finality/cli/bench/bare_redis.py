"""Bare streams by redis-py: a pipeline of XADD for each batch."""

from __future__ import annotations

import json
from collections.abc import Sequence

from redis.asyncio import Redis

from finality.cli.bench.bare import Bare, batches


async def publish(url: str, topic: str, events: Sequence[Bare]) -> None:
    """Store *events*."""
    client = Redis.from_url(url.replace("valkey://", "redis://"))
    for batch in batches(events):
        pipeline = client.pipeline(transaction=False)
        for _, attributes, data in batch:
            pipeline.xadd(topic, {"cloudevent": json.dumps(attributes), "data": data})
        await pipeline.execute()
    await client.aclose()
