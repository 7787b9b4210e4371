"""Bare Kafka by aiokafka: sends in flight together, a batch at a time, which the producer batches, too."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer

BATCH = 500


async def publish(url: str, topic: str, events: Sequence[tuple[str, bytes]]) -> None:
    """Store *events*."""
    servers = url.partition("://")[2].partition("?")[0].rstrip("/")
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all")
    await producer.start()
    for begin in range(0, len(events), BATCH):
        batch = events[begin : begin + BATCH]
        sent = [await producer.send(topic, data, key=key.encode()) for key, data in batch]
        await asyncio.gather(*sent)
    await producer.stop()
