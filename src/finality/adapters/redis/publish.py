"""Publishing: one script for the events of each partition, which the server runs whole and in order.

```
   batch ──▶ by partition ──▶ script, script, …, WAIT ──▶ one message, one sync of the server
```

The script knows the ids of late, so what is published again is stored once.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from finality.adapters.redis.line import Line
from finality.adapters.redis.topics import Topic, Topics
from finality.adapters.redis.wire import ids_key, packed, stream_key
from finality.adapters.waves import Outcomes, portions, too_large
from finality.core.envelope import Envelope
from finality.core.errors import FinalityError, NotFound, Unavailable
from finality.core.placement import partition_of

EVENT_BYTES_MAX = 1 << 20  # 1 MiB, as in a journal; the server would take 512.
MESSAGE_BYTES_MAX = 8 << 20  # While it runs a script the server does nothing else.
REPLICAS_SECONDS_MAX = 2.0  # For those that have to have it, too.
SCRIPT = files(__package__).joinpath("publish.lua").read_text()


@dataclass(slots=True)  # Not frozen: each event is one on its way, and those cost six times as much.
class Outgoing:
    """An event as it goes over the line.

    Attributes:
        bytes: How many bytes it has there.
    """

    index: int
    topic: str
    partition: int
    packed: builtins.bytes
    bytes: int


class Publisher:
    """Stores events."""

    def __init__(self, line: Line, topics: Topics) -> None:
        self._line = line
        self._topics = topics

    async def publish(self, events: Sequence[Envelope]) -> list[FinalityError | None]:
        """Store events; return what became of each."""
        outcomes = Outcomes(events)
        topics = {name: await self._found(name) for name in {event.topic for event in events}}
        going = []
        for index, event in enumerate(events):
            topic = topics[event.topic]
            if not outcomes.may_go(index):
                continue
            if isinstance(topic, Unavailable):
                outcomes.fail(index, topic)
            elif topic is None:
                if outcomes.has_topic(index):
                    outcomes.reject(index, f"no topic {event.topic!r} was declared; declare it")
            elif len(event.data) > EVENT_BYTES_MAX:
                outcomes.reject(index, too_large(event, EVENT_BYTES_MAX))
            else:
                partition = partition_of(event.key or event.id, topic.partitions)
                ours = packed(event)
                going.append(Outgoing(index, event.topic, partition, ours, len(ours)))
        for portion in portions(going, MESSAGE_BYTES_MAX):
            await self._store([each for each in portion if outcomes.may_go(each.index)], outcomes)
        return outcomes.each

    async def _found(self, topic: str) -> Topic | Unavailable | None:
        """Return the topic, if there is one."""
        try:
            return await self._topics.find(topic)
        except NotFound:
            return None
        except Unavailable as problem:
            return problem

    async def _store(self, going: Sequence[Outgoing], outcomes: Outcomes) -> None:
        of_partition: dict[tuple[str, int], list[Outgoing]] = {}
        for each in going:
            of_partition.setdefault((each.topic, each.partition), []).append(each)
        try:
            answers = await self._run(of_partition)
        except Unavailable as problem:
            answers = [problem] * len(of_partition)
        for stored, answer in zip(of_partition.values(), answers, strict=True):
            if answer is not None:
                for each in stored:
                    outcomes.fail(each.index, answer)

    async def _run(self, of_partition: dict[tuple[str, int], list[Outgoing]]) -> list[Unavailable | None]:
        """Have the server run a script for each partition; return why not, where it did not."""
        if not of_partition:
            return []
        address = self._line.address
        with self._line.asking():
            async with self._line.client.pipeline(transaction=False) as scripts:
                for (topic, partition), going in of_partition.items():
                    keep = self._topics.known[topic].keep_seconds
                    keys = (stream_key(topic, partition), ids_key(topic, partition))
                    times = (str(address.window_seconds * 1_000), str(keep * 1_000))
                    scripts.eval(SCRIPT, 2, *keys, *times, b"".join(each.packed for each in going))
                if address.replicas:
                    scripts.wait(address.replicas, int(REPLICAS_SECONDS_MAX * 1_000))
                answers = await scripts.execute(raise_on_error=False)
            if address.replicas:
                self._count_replicas(answers.pop())
        return [
            self._line.unavailable(answer) if isinstance(answer, Exception) else None for answer in answers
        ]

    def _count_replicas(self, answer: int | Exception) -> None:
        if isinstance(answer, Exception):
            raise answer
        if answer < self._line.address.replicas:
            raise OSError(f"{answer} replicas have the events, and {self._line.address.replicas} are to")
