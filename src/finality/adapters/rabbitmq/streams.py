"""Streams of RabbitMQ: for the partitions of a topic, for their number, and for a group's progress.

```
   orders               exchange: events go by the number of their partition
   orders/partitions    stream: its first record is how many there are
   orders/0, orders/1…  streams: the events
   orders/0/stock       stream: its last record is the progress of the group in the partition
```

A slash is in no name of a topic, so none meets another. Each stream begins with a record that is no event, so
that none is empty: of an empty one nobody could say, but by waiting, that it has no last record.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Literal

from aio_pika import DeliveryMode, ExchangeType, Message
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import ChannelNotFoundEntity
from aiormq.abc import DeliveredMessage

from finality.adapters.kept_progress import progress_of, text_of
from finality.adapters.progress import Progress
from finality.adapters.rabbitmq.line import ANSWER_SECONDS_MAX, Line
from finality.adapters.rabbitmq.wire import MARK, START
from finality.core.errors import NotFound, Unavailable

READ_AHEAD = 5_000  # More than what is written at once, so that all of it comes.
EMPTY_SECONDS = 6.0  # The node counts what a stream holds every five.
PROGRESS_BYTES = 100_000  # Of a stream of which the last record counts.
PROGRESS_SEGMENT_BYTES = 50_000
DECLARE_ATTEMPTS_MAX = 3
BEGINNING = 0  # The offset of the mark that a stream begins with.

Arguments = dict[str, Any]


class Streams:
    """The streams of a node."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._partitions: dict[str, int] = {}
        self._declaring = asyncio.Lock()

    async def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has.

        Raises:
            NotFound: It was not declared.
            Unavailable: The node is out of reach.
        """
        if topic not in self._partitions:
            found = await self.look(f"{topic}/partitions", at="first")
            if found is None:
                raise NotFound(f"{self._line.address.name} has no topic {topic!r}: declare it first")
            self._partitions[topic] = int(bytes(found.body))
        return self._partitions[topic]

    async def declare(self, topic: str, partitions: int) -> int:
        """Make what is not there of a topic; return how many partitions it has."""
        attempts = 0
        async with self._declaring:  # The shares of a relay all come at once.
            while topic not in self._partitions:
                try:
                    self._partitions[topic] = await self._declared(topic, partitions)
                except Unavailable:
                    attempts += 1  # Two that make one stream at the same time can throw a node off balance.
                    if attempts == DECLARE_ATTEMPTS_MAX:
                        raise
        return self._partitions[topic]

    async def _declared(self, topic: str, partitions: int) -> int:
        # Whoever else does this at the same time finds the same first record.
        await self._make(f"{topic}/partitions", {}, str(partitions))
        found = await self.look(f"{topic}/partitions", at="first")
        assert found is not None, f"the partitions of {topic} were not kept"
        partitions = int(bytes(found.body))
        keep = {"x-max-age": f"{self._line.address.keep_seconds}s"}
        await asyncio.gather(*(self._make(f"{topic}/{number}", keep) for number in range(partitions)))
        async with self._line.turn(f"did not make topic {topic!r}") as channel:
            exchange = await channel.declare_exchange(topic, ExchangeType.TOPIC, durable=True)
            for number in range(partitions):
                queue = await channel.get_queue(f"{topic}/{number}", ensure=False)
                await queue.bind(exchange, str(number))
        return partitions

    async def _make(self, name: str, arguments: Arguments, first: str = "") -> None:
        """Make a stream that begins with a mark, if it is not there, or was left empty."""
        if await self.look(name) is not None:
            return
        given: Arguments = {"x-queue-type": "stream", **arguments}
        if self._line.address.replicas:
            given["x-initial-cluster-size"] = self._line.address.replicas
        async with self._line.turn(f"did not make {name!r}") as channel:
            await channel.declare_queue(name, durable=True, arguments=given)
            mark = Message(first.encode(), headers={MARK: "begin"}, delivery_mode=DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(mark, name)

    async def look(self, name: str, *, at: Literal["first", "last"] = "last") -> DeliveredMessage | None:
        """Return the first or the last record of a stream, if it is there.

        Raises:
            Unavailable: The node is out of reach.
        """
        what, seconds = f"does not tell what {name!r} holds", EMPTY_SECONDS + ANSWER_SECONDS_MAX
        async with self._line.turn(what, prefetch=READ_AHEAD, seconds=seconds) as channel:
            with contextlib.suppress(ChannelNotFoundEntity):
                await channel.get_queue(name)
                return await self._looked(channel, name, at)
            return None

    async def _looked(self, channel: AbstractChannel, name: str, at: str) -> DeliveredMessage | None:
        found: asyncio.Queue[DeliveredMessage] = asyncio.Queue()

        async def keep(delivered: DeliveredMessage) -> None:
            found.put_nowait(delivered)

        underlying = await channel.get_underlay_channel()
        await underlying.basic_consume(name, keep, arguments={START: at})
        try:
            async with asyncio.timeout(EMPTY_SECONDS):
                record = await found.get()
        except TimeoutError:
            if (await channel.get_queue(name)).declaration_result.message_count:
                raise
            return None  # Whoever made it died before it began.
        if at == "last":
            # Its last records come at once: they are here when the next question is answered.
            await channel.get_queue(name)
            while not found.empty():
                record = found.get_nowait()
        return record

    async def progress(self, topic: str, group: str, partition: int) -> Progress:
        """Return a group's progress in a partition, as it was kept; that of a new one has read the mark."""
        record = await self.look(progress_stream(topic, group, partition))
        return Progress(BEGINNING) if record is None else progress_of(bytes(record.body).decode())

    async def began(self, topic: str, group: str, partition: int) -> Progress:
        """Return a group's progress in a partition; from now on there is a place for it."""
        limits = {
            "x-max-length-bytes": PROGRESS_BYTES,
            "x-stream-max-segment-size-bytes": PROGRESS_SEGMENT_BYTES,
        }
        await self._make(progress_stream(topic, group, partition), limits, text_of(Progress(BEGINNING)))
        return await self.progress(topic, group, partition)


def progress_stream(topic: str, group: str, partition: int) -> str:
    """Return the name of the stream whose last record is the progress."""
    return f"{topic}/{partition}/{group}"
