"""Bare streams by redis-py: a pipeline of XADD for each batch."""

from __future__ import annotations

from collections.abc import Sequence

from redis.asyncio import Redis

BATCH = 500


async def publish(url: str, topic: str, events: Sequence[tuple[str, bytes]]) -> None:
    """Store *events*."""
    client = Redis.from_url(url.replace("valkey://", "redis://"))
    for begin in range(0, len(events), BATCH):
        pipeline = client.pipeline(transaction=False)
        for key, data in events[begin : begin + BATCH]:
            pipeline.xadd(topic, {"key": key, "data": data})
        await pipeline.execute()
    await client.aclose()
