"""What the promises of a RabbitMQ node rest on, as far as AMQP tells."""

from __future__ import annotations

import re

from aio_pika import Message

from finality.adapters.rabbitmq.line import Line
from finality.core.errors import Unavailable

VERSION_MIN = (3, 9)  # The first with streams.
KEEP_SECONDS_MIN = 24 * 3_600  # A consumer may be away for a day, and a relay send again as long.

Finding = tuple[str, bool, str]


async def findings(line: Line) -> list[Finding]:
    """Ask the node, and see whether it takes an event."""
    connection = await line.connected()
    transport = connection.transport
    properties = {} if transport is None else transport.connection.server_properties
    told = properties.get("version", "")
    return [
        _version(told.decode() if isinstance(told, bytes) else str(told)),
        _replicas(line.address.replicas),
        _keep(line.address.keep_seconds),
        await _alarm(line),
    ]


def _version(version: str) -> Finding:
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    found = f"RabbitMQ {version}"
    if numbers >= VERSION_MIN:
        return "version", True, found
    return "version", False, f"{found}; {'.'.join(map(str, VERSION_MIN))} is the first that has streams"


def _replicas(replicas: int) -> Finding:
    if replicas > 1:
        return "replicas", True, f"replicas = {replicas} of each topic, where the cluster has as many nodes"
    found = f"replicas = {replicas or 'the number of nodes'}: streams are not flushed"
    return (
        "replicas",
        False,
        f"{found}, so a computer that fails can lose what was acknowledged; have three nodes, and replicas=3 "
        "in the URL",
    )


def _keep(seconds: int) -> Finding:
    found = f"events are kept for {seconds / 3_600:g} hours"
    if seconds >= KEEP_SECONDS_MIN:
        return "keep", True, found
    return "keep", False, f"{found}: a consumer that is away longer loses some; set keep= to a day or more"


async def _alarm(line: Line) -> Finding:
    """See whether an event is taken: with an alarm of disk or memory, a node takes none."""
    try:
        async with line.turn("takes no event") as channel:
            queue = await channel.declare_queue(exclusive=True, auto_delete=True)
            await channel.default_exchange.publish(Message(b"is anybody there?"), queue.name)
    except Unavailable as problem:
        return (
            "alarm",
            False,
            f"{problem}; look at the node's disk and memory, as `rabbitmqctl status` tells them",
        )
    return "alarm", True, "it takes events"
