"""Bare streams by redis-py: a pipeline of XADD for each batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from finality.cli.bench.bare import Bare, batches


async def publish(url: str, topic: str, events: Sequence[Bare]) -> None:
    """Store *events*."""
    client = Redis.from_url(url.replace("valkey://", "redis://"))
    for batch in batches(events):
        pipeline = client.pipeline(transaction=False)
        for _, attributes, data in batch:
            fields: dict[Any, Any] = {"data": data, **attributes}
            pipeline.xadd(topic, fields)
        await pipeline.execute()
    await client.aclose()
