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
from finality.adapters.redis.topics import Topics
from finality.adapters.redis.wire import ids_key, packed, stream_key
from finality.adapters.waves import Outcomes, portions, too_large
from finality.core.envelope import Envelope
from finality.core.errors import FinalityError, NotFound, Unavailable
from finality.core.placement import partition_of

EVENT_BYTES_MAX = 1 << 20  # 1 MiB, as in a journal; the server would take 512.
MESSAGE_BYTES_MAX = 8 << 20  # While it runs a script the server does nothing else.
REPLICAS_SECONDS_MAX = 2.0  # For those that have to have it, too.
SCRIPT = files(__package__).joinpath("publish.lua").read_text()


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An event as it goes over the line."""

    index: int
    topic: str
    partition: int
    packed: builtins.bytes

    @property
    def bytes(self) -> int:
        """Return how many bytes it has there."""
        return len(self.packed)


class Publisher:
    """Stores events."""

    def __init__(self, line: Line, topics: Topics) -> None:
        self._line = line
        self._topics = topics

    async def publish(self, events: Sequence[Envelope]) -> list[FinalityError | None]:
        """Store events; return what became of each."""
        outcomes = Outcomes(events)
        going = []
        for index, event in enumerate(events):
            if outcomes.may_go(index) and outcomes.has_topic(index):
                outgoing = await self._outgoing(index, event, outcomes)
                if outgoing is not None:
                    going.append(outgoing)
        for portion in portions(going, MESSAGE_BYTES_MAX):
            await self._store([each for each in portion if outcomes.may_go(each.index)], outcomes)
        return outcomes.each

    async def _outgoing(self, index: int, event: Envelope, outcomes: Outcomes) -> Outgoing | None:
        topic = self._topics.known.get(event.topic)
        if topic is None:
            try:
                topic = await self._topics.find(event.topic)
            except NotFound as problem:
                outcomes.reject(index, str(problem))
                return None
            except Unavailable as problem:
                outcomes.fail(index, problem)
                return None
        if len(event.data) > EVENT_BYTES_MAX:
            outcomes.reject(index, too_large(event, EVENT_BYTES_MAX))
            return None
        partition = partition_of(event.key or event.id, topic.partitions)
        return Outgoing(index, event.topic, partition, packed(event))

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
