"""Publishing on RabbitMQ: each batch in waves on a channel of its own, each event confirmed.

```
   a1 b1 a2 a3 ──▶ wave 1: a1 b1 ──▶ exchange ──▶ orders/0   a1 a2 a3      confirmed when most replicas
                   wave 2: a2                └──▶ orders/1   b1            have it
                   wave 3: a3
```

A node closes a channel on which anything is wrong, and we do so when it does not confirm. Batches of other
shares go on, since each has its channel as long as it is under way.

A node that starts returns what it has no route for yet, and stores what comes a moment later. So a key is
never twice under way: what is behind an event that was not stored is not sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aio_pika.abc import AbstractChannel
from aiormq.channel import Channel

from finality.adapters.rabbitmq.line import Line, answered, closed
from finality.adapters.rabbitmq.streams import Streams
from finality.adapters.rabbitmq.wave import Wave
from finality.adapters.waves import Outcomes, too_large, waves
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
        self._idle: list[AbstractChannel] = []

    async def publish(self, events: Sequence[Envelope]) -> list[FinalityError | None]:
        """Store events, each on the partition of its key; return what became of each."""
        outcomes = Outcomes(events)
        placed = await self._placed(events, outcomes)
        try:
            channel = await self._taken()
        except Unavailable as problem:
            for number in placed:
                outcomes.fail(number, problem)
            return outcomes.each
        gone: Unavailable | None = None
        try:
            for wave in waves(placed, events):
                going = [number for number in wave if outcomes.may_go(number)]
                if gone is None:
                    gone = await self._send_all(channel, going, placed, events, outcomes)
                else:
                    for number in going:
                        outcomes.fail(number, gone)
        finally:
            if gone is None:
                self._idle.append(channel)
        if gone is not None:
            await closed(channel)
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

    async def _taken(self) -> AbstractChannel:
        while self._idle:
            channel = self._idle.pop()
            if not channel.is_closed:
                return channel
        return await self._line.channel()

    async def _send_all(
        self,
        channel: AbstractChannel,
        going: Sequence[int],
        placed: Mapping[int, int],
        events: Sequence[Envelope],
        outcomes: Outcomes,
    ) -> Unavailable | None:
        """Send a wave, and note what was not stored; return why nothing more can be sent, if so."""
        name = self._line.address.name
        gone: Unavailable | None = None
        wave = Wave()
        try:
            async with answered(name, "did not confirm events"):
                underlying = await channel.get_underlay_channel()
                assert isinstance(underlying, Channel), f"{underlying!r} is no channel of the client"
                await wave.send(underlying, {number: (events[number], placed[number]) for number in going})
        except Unavailable as problem:
            gone = problem
        for number in going:
            answer = wave.answers.get(number, gone)
            if isinstance(answer, ValueError):
                outcomes.reject(number, str(answer))
            elif isinstance(answer, Unavailable):
                outcomes.fail(number, answer)
            elif answer is not None:  # The node's word about this event alone.
                because = f"{name} did not store the event: {type(answer).__name__} {answer}; try again"
                outcomes.fail(number, Unavailable(because))
        return gone

    async def close(self) -> None:
        """Let go of the channels."""
        while self._idle:
            await closed(self._idle.pop())
