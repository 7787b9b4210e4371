"""Publishing on Kafka: one batch of records a partition, which is stored whole or not at all.

```
    events ──▶ by partition ─┬─▶ batch ──▶ batch …      each behind the one before it
                             └─▶ batch                  partitions side by side
```

A key is on one partition, so its order cannot turn around: no event is stored behind one that was not.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, UnknownError, UnsupportedVersionError

from finality.adapters.kafka.connection import ANSWER_SECONDS_MAX, Cluster, answered
from finality.adapters.kafka.records import Headers, bytes_of, headers_of
from finality.adapters.kafka.topics import Topic, Topics
from finality.adapters.waves import Outcomes, too_large
from finality.core.envelope import Envelope
from finality.core.errors import FinalityError, NotFound, Unavailable
from finality.core.placement import partition_of

PUBLISH_SECONDS_MAX = 2 * ANSWER_SECONDS_MAX  # Looking for who takes a batch, and its answer.
BATCH_BYTES_MAX = 1 << 20  # Of a partition, in one request; Kafka's default is the same.
BATCH_BYTES = 128  # What a batch has beside its records, and more.

Place = tuple[str, int]


class Outgoing(NamedTuple):
    """An event that goes to a partition.

    Attributes:
        number: Its place in what is published.
        size: At least how many bytes it has as a record.
    """

    number: int
    event: Envelope
    headers: Headers
    size: int


Stored = tuple[FinalityError | None, Sequence[Outgoing]]
"""Why the events of a partition were stored no further, and what is left of them."""


class Publisher:
    """What stores events on a cluster.

    Attributes:
        is_idempotent: The cluster knows a batch again that the client sends twice.
        event_bytes_max: Of the data of an event.
    """

    def __init__(self, cluster: Cluster, topics: Topics, event_bytes_max: int) -> None:
        self.is_idempotent = True
        self.event_bytes_max = event_bytes_max
        self._cluster = cluster
        self._topics = topics
        self._producer: AIOKafkaProducer | None = None
        self._is_suspect = False
        self._opening = asyncio.Lock()
        self._transaction_turn = asyncio.Lock()

    async def open(self) -> None:
        """Connect; without idempotence where the cluster has none.

        Raises:
            Unavailable: The cluster is out of reach.
        """
        try:
            await self._start()
        except Unavailable as problem:
            if not isinstance(problem.__cause__, (UnknownError, UnsupportedVersionError)):
                raise
            self.is_idempotent = False
            await self._start()

    async def _start(self) -> None:
        producer = AIOKafkaProducer(
            acks="all",
            enable_idempotence=self.is_idempotent,
            max_batch_size=BATCH_BYTES_MAX,
            transactional_id=self._cluster.transactional_id,
            transaction_timeout_ms=int(2 * PUBLISH_SECONDS_MAX * 1_000),
            **self._cluster.client,
        )
        try:
            async with answered(self._cluster.name, "lets nobody publish"):
                await producer.start()
        except BaseException:
            await producer.stop()
            raise
        self._producer = producer
        self._is_suspect = False

    async def close(self) -> None:
        """Let go; what is under way is waited for as long as for any answer."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with contextlib.suppress(KafkaError, OSError, TimeoutError):  # It is gone either way.
                async with asyncio.timeout(ANSWER_SECONDS_MAX):
                    await producer.stop()

    async def publish(self, events: Sequence[Envelope]) -> list[FinalityError | None]:
        """Store events, each on the partition of its key; return what became of each."""
        outcomes = Outcomes(events)
        placed = await self._placed(events, outcomes)
        stored: Sequence[Stored]
        try:
            await self._be_sure()
            async with self._transaction():
                stored = await asyncio.gather(*(self._store(place, each) for place, each in placed.items()))
                failed = next((problem for problem, _ in stored if problem is not None), None)
                if failed is not None and self._cluster.transactional_id is not None:
                    raise failed
        except Unavailable as error:
            stored = [(error, each) for each in placed.values()]
        for problem, left in stored:
            if problem is not None:
                self._is_suspect = True
                for each in left:
                    outcomes.fail(each.number, problem)
        return outcomes.each

    async def _placed(self, events: Sequence[Envelope], outcomes: Outcomes) -> dict[Place, list[Outgoing]]:
        """Return what goes where, and note in *outcomes* why the rest goes nowhere."""
        placed: dict[Place, list[Outgoing]] = {}
        topics = {name: await self._found(name) for name in {event.topic for event in events}}
        for number, event in enumerate(events):
            topic = topics[event.topic]
            if not outcomes.may_go(number):
                continue
            if isinstance(topic, Unavailable):
                outcomes.fail(number, topic)
            elif topic is None:
                if outcomes.has_topic(number):
                    outcomes.reject(number, f"no topic {event.topic!r} was declared; declare it")
            elif len(event.data) > self.event_bytes_max:
                outcomes.reject(number, too_large(event, self.event_bytes_max))
            else:
                headers = headers_of(event)
                size = bytes_of(event, headers)
                if size + BATCH_BYTES > topic.bytes_max:
                    outcomes.reject(number, too_large(event, topic.bytes_max))
                    continue
                place = event.topic, partition_of(event.key or event.id, topic.partitions)
                placed.setdefault(place, []).append(Outgoing(number, event, headers, size))
        return placed

    async def _found(self, name: str) -> Topic | Unavailable | None:
        """Return the topic, if there is one."""
        try:
            return await self._topics.find(name)
        except NotFound:
            return None
        except Unavailable as problem:
            return problem

    async def _be_sure(self) -> None:
        """Begin anew with the client after a failure: it may have given up for good."""
        async with self._opening:
            if self._is_suspect or self._producer is None:
                await self.close()
                await self._start()

    @contextlib.asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        """Let all be seen, or nothing, where a batch is a transaction."""
        if self._cluster.transactional_id is None:
            yield
            return
        assert self._producer is not None, "the producer was not started"
        async with self._transaction_turn:
            wait = answered(self._cluster.name, "did not finish a transaction", seconds=PUBLISH_SECONDS_MAX)
            async with wait, self._producer.transaction():
                yield

    async def _store(self, place: Place, outgoing: list[Outgoing]) -> Stored:
        """Store the events of one partition; return why it went no further, and what is left."""
        topic, _ = place
        bytes_max = min((await self._topics.find(topic)).bytes_max, BATCH_BYTES_MAX)
        stored = 0
        for batch in batches_of(outgoing, bytes_max):
            try:
                await self._send(place, batch)
            except Unavailable as problem:
                self._topics.forget(topic)  # It may take less than it did.
                return problem, outgoing[stored:]
            stored += len(batch)
        return None, ()

    async def _send(self, place: Place, batch: Sequence[Outgoing]) -> None:
        producer = self._producer
        assert producer is not None, "the producer was not started"
        builder = producer.create_batch()
        for each in batch:
            key = each.event.key.encode() or None
            written = builder.append(key=key, value=each.event.data, timestamp=None, headers=each.headers)
            assert written is not None, f"event {each.event.id} does not fit into its batch"
        topic, partition = place
        what = f"did not store events on topic {topic!r}"
        async with answered(self._cluster.name, what, seconds=PUBLISH_SECONDS_MAX):
            await (await producer.send_batch(builder, topic, partition=partition))


def batches_of(outgoing: Sequence[Outgoing], bytes_max: int) -> Iterator[Sequence[Outgoing]]:
    """Yield as many events at once as a batch may hold."""
    begin, size = 0, BATCH_BYTES
    for end, each in enumerate(outgoing):
        if end > begin and size + each.size > bytes_max:
            yield outgoing[begin:end]
            begin, size = end, BATCH_BYTES
        size += each.size
    if begin < len(outgoing):
        yield outgoing[begin:]
