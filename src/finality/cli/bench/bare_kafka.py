"""Bare Kafka by aiokafka: sends in flight together, a batch at a time, which the producer batches, too."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from finality.cli.bench.bare import Bare, batches
from finality.ports.broker import PARTITIONS


async def publish(url: str, topic: str, events: Sequence[Bare]) -> None:
    """Store *events*."""
    servers = url.partition("://")[2].partition("?")[0].rstrip("/")
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    await admin.create_topics([NewTopic(topic, PARTITIONS, -1, {})])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all")
    await producer.start()
    for batch in batches(events):
        sent = [
            await producer.send(
                topic, data, key=key.encode(),
                headers=[(f"ce_{name}", value.encode()) for name, value in attributes.items()],
            )
            for key, attributes, data in batch
        ]  # fmt: skip
        await asyncio.gather(*sent)
    await producer.stop()
