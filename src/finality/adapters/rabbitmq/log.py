"""The partitions of a topic of RabbitMQ, as a subscription reads them: a consumer on each stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel

from finality.adapters.kept_progress import text_of
from finality.adapters.log_subscription import Entry
from finality.adapters.progress import Progress
from finality.adapters.rabbitmq.line import Line, answered, closed
from finality.adapters.rabbitmq.streams import READ_AHEAD, progress_stream
from finality.adapters.rabbitmq.wire import START, envelope_from, is_mark, offset_of, tag_of
from finality.core.errors import Unavailable

PREFETCH = 500  # Of a partition, read and not given yet.
READ_EVENTS_MAX = 500  # Of a read.
QUIET_SECONDS_MAX = 2.0  # Then the consumers are looked after: the node may have ended one.

Arrived = asyncio.Queue[tuple[int, DeliveredMessage] | None]


class StreamLog:
    """Fulfils ``adapters.log_subscription.Log``."""

    def __init__(self, line: Line, topic: str, group: str, progress: Mapping[int, Progress]) -> None:
        self._line = line
        self._topic = topic
        self._group = group
        self._next = {number: each.done_to + 1 for number, each in progress.items()}
        self._channel: AbstractChannel | None = None
        self._arrived: Arrived = asyncio.Queue()  # None: the channel is closed.
        self._keeper: AbstractChannel | None = None

    async def open(self) -> None:
        """Begin to read behind what was read before.

        Raises:
            Unavailable: The node is out of reach.
        """
        arrived: Arrived = asyncio.Queue()
        channel = await self._line.channel(prefetch=PREFETCH)
        channel.close_callbacks.add(lambda *_: arrived.put_nowait(None))
        self._channel, self._arrived = channel, arrived
        async with answered(self._line.address.name, f"lets nobody read topic {self._topic!r}"):
            for partition, offset in self._next.items():
                await consume(channel, f"{self._topic}/{partition}", offset, partition, arrived)

    async def read(self) -> Sequence[Entry]:
        """Wait for events; begin again where the channel was lost."""
        while True:
            if self._channel is None:
                await self.open()
            assert self._channel is not None, "the log was not opened"
            arrived = await self._some(self._channel)
            entries = [self._entry(*each) for each in arrived if not is_mark(each[1])]
            if entries:
                return entries

    async def _some(self, channel: AbstractChannel) -> list[tuple[int, DeliveredMessage]]:
        """Wait for records, and let the node send as many more."""
        found: list[tuple[int, DeliveredMessage]] = []
        async with answered(self._line.address.name, "cannot be read"):
            underlying = await channel.get_underlay_channel()
        try:
            async with asyncio.timeout(QUIET_SECONDS_MAX):
                each = await self._arrived.get()
        except TimeoutError:
            assert isinstance(underlying, Channel), f"{underlying!r} is no channel of the client"
            if len(underlying.consumers) < len(self._next):
                await self._lose("has ended a consumer")
            return found
        while each is not None:
            found.append(each)
            if self._arrived.empty() or len(found) == READ_EVENTS_MAX:
                break
            each = self._arrived.get_nowait()
        if each is None:
            await self._lose("has closed the channel")
        async with answered(self._line.address.name, "cannot be read"):
            await underlying.basic_ack(tag_of(found[-1][1]), multiple=True, wait=False)
        return found

    async def _lose(self, what: str) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await closed(channel)
        raise Unavailable(f"{self._line.address.name} {what}: it may be restarting; take again")

    def _entry(self, partition: int, delivered: DeliveredMessage) -> Entry:
        offset = offset_of(delivered)
        self._next[partition] = offset + 1
        envelope = envelope_from(
            delivered, topic=self._topic, partition=partition, broker=self._line.address.name
        )
        return Entry(partition, offset, envelope)

    async def keep(self, progress: Mapping[int, Progress]) -> None:
        """Write the group's progress."""
        texts = {
            progress_stream(self._topic, self._group, number): text_of(each)
            for number, each in progress.items()
        }
        if self._keeper is None or self._keeper.is_closed:
            self._keeper = await self._line.channel()
        exchange = self._keeper.default_exchange
        async with answered(self._line.address.name, f"did not keep the progress of {self._group!r}"):
            await asyncio.gather(
                *(
                    exchange.publish(Message(text.encode(), delivery_mode=DeliveryMode.PERSISTENT), name)
                    for name, text in texts.items()
                )
            )

    async def close(self) -> None:
        """Let go."""
        for channel in (self._channel, self._keeper):
            if channel is not None:
                await closed(channel)


async def consume(
    channel: AbstractChannel, stream: str, offset: int, partition: int, arrived: Arrived
) -> None:
    """Let the records of a stream arrive, from an offset on."""

    async def arrive(delivered: DeliveredMessage) -> None:
        arrived.put_nowait((partition, delivered))

    underlying = await channel.get_underlay_channel()
    await underlying.basic_consume(stream, arrive, arguments={START: offset})


async def replayed(
    line: Line, topic: str, partition: int, *, begin: int, end: int
) -> AsyncIterator[DeliveredMessage]:
    """Yield the events of a partition from an offset to another one, which is there.

    Raises:
        Unavailable: The node is out of reach.
    """
    if begin > end:
        return
    channel = await line.channel(prefetch=READ_AHEAD)
    arrived: Arrived = asyncio.Queue()
    channel.close_callbacks.add(lambda *_: arrived.put_nowait(None))
    try:
        async with answered(line.address.name, "cannot be read"):
            await consume(channel, f"{topic}/{partition}", begin, partition, arrived)
            underlying = await channel.get_underlay_channel()
        while begin <= end:
            async with answered(line.address.name, "cannot be read"):
                found = await arrived.get()
                if found is None:
                    raise Unavailable(f"{line.address.name} has closed the channel: replay again")
                delivered = found[1]
                await underlying.basic_ack(tag_of(delivered), wait=False)
            begin = offset_of(delivered) + 1
            if not is_mark(delivered) and begin <= end + 1:
                yield delivered
    finally:
        await closed(channel)
