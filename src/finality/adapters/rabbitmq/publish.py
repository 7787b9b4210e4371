"""Publishing on RabbitMQ: pipelined on one channel, each event confirmed.

```
   a1 b1 a2 a3 ──▶ channel ──▶ exchange ──▶ orders/0   a1 a2 a3      confirmed when most replicas have it
                                        └─▶ orders/1   b1
```

A key is on one stream, and a stream takes what a channel sends in its order. It refuses an event only when
it is gone itself, and then every one behind it, too. After a failure the channel is closed, so that nothing
of it comes late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aio_pika.abc import AbstractChannel, AbstractExchange
from aio_pika.exceptions import AMQPError

from finality.adapters.rabbitmq.line import Line, answered, closed
from finality.adapters.rabbitmq.streams import Streams
from finality.adapters.rabbitmq.wire import message_of
from finality.adapters.waves import Outcomes, too_large
from finality.core.envelope import Envelope
from finality.core.errors import DefinitionError, FinalityError, NotFound, Unavailable
from finality.core.placement import partition_of
from finality.ports.topic_names import check_topic

EVENT_BYTES_MAX = 1 << 20  # 1 MiB, as in a journal; RabbitMQ takes 128 MiB, and stumbles over them.


class Publisher:
    """What stores events on a node."""

    def __init__(self, line: Line, streams: Streams) -> None:
        self._line = line
        self._streams = streams
        self._channel: AbstractChannel | None = None
        self._exchanges: dict[str, AbstractExchange] = {}
        self._opening = asyncio.Lock()

    async def publish(self, events: Sequence[Envelope]) -> list[FinalityError | None]:
        """Store events, each on the partition of its key; return what became of each."""
        outcomes = Outcomes(events)
        placed = await self._placed(events, outcomes)
        try:
            channel = await self._ready()
            async with answered(self._line.address.name, "did not confirm events"):
                answers = await asyncio.gather(
                    *(self._send(channel, events[number], partition) for number, partition in placed.items()),
                    return_exceptions=True,
                )
        except Unavailable as problem:
            answers = [problem] * len(placed)
        for number, answer in zip(placed, answers, strict=True):
            if isinstance(answer, BaseException):
                outcomes.fail(number, self._problem(answer))
        if any(isinstance(answer, BaseException) for answer in answers):
            await self.close()
        return outcomes.each

    async def _placed(self, events: Sequence[Envelope], outcomes: Outcomes) -> dict[int, int]:
        """Return the partition of each that goes, and note in *outcomes* why the rest goes nowhere."""
        placed: dict[int, int] = {}
        topics = {name: await self._found(name) for name in {event.topic for event in events}}
        for number, event in enumerate(events):
            partitions = topics[event.topic]
            if not outcomes.may_go(number):
                continue
            if isinstance(partitions, Unavailable):
                outcomes.fail(number, partitions)
            elif partitions is None:
                if outcomes.has_topic(number):
                    outcomes.reject(number, f"no topic {event.topic!r} was declared; declare it")
            elif len(event.data) > EVENT_BYTES_MAX:
                outcomes.reject(number, too_large(event, EVENT_BYTES_MAX))
            else:
                placed[number] = partition_of(event.key or event.id, partitions)
        return placed

    async def _found(self, topic: str) -> int | Unavailable | None:
        """Return how many partitions the topic has, if there is one."""
        try:
            return await self._streams.partitions(check_topic(topic))
        except (DefinitionError, NotFound):
            return None
        except Unavailable as problem:
            return problem

    async def _ready(self) -> AbstractChannel:
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                self._exchanges.clear()
                self._channel = await self._line.channel()
            return self._channel

    async def _send(self, channel: AbstractChannel, event: Envelope, partition: int) -> None:
        exchange = self._exchanges.get(event.topic)
        if exchange is None:
            exchange = self._exchanges[event.topic] = await channel.get_exchange(event.topic, ensure=False)
        await exchange.publish(message_of(event), str(partition), mandatory=True)

    def _problem(self, answer: BaseException) -> FinalityError:
        if isinstance(answer, FinalityError):
            return answer
        if not isinstance(answer, (AMQPError, OSError, RuntimeError)):
            raise answer
        told = f"{self._line.address.name} did not store the event: {type(answer).__name__} {answer}"
        return Unavailable(f"{told}; publish it again")

    async def close(self) -> None:
        """Let go of the channel."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await closed(channel)
