"""Bare RabbitMQ by aio-pika: publishes into a stream, confirmed, in flight together, a batch at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aio_pika

from finality.cli.bench.bare import Bare, batches


async def publish(url: str, topic: str, events: Sequence[Bare]) -> None:
    """Store *events*."""
    connection = await aio_pika.connect(url.replace("rabbitmq://", "amqp://"))
    channel = await connection.channel(publisher_confirms=True)
    await channel.declare_queue(topic, durable=True, arguments={"x-queue-type": "stream"})
    for batch in batches(events):
        sent = [
            channel.default_exchange.publish(
                aio_pika.Message(
                    data,
                    headers={f"cloudEvents:{name}": value for name, value in attributes.items()},
                    delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                ),
                topic,
            )
            for _, attributes, data in batch
        ]
        await asyncio.gather(*sent)
    await connection.close()
