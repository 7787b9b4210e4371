"""Some partitions of a topic, read for a group: a task reads on demand, and take gives what it has read.

```
   streams ── XREADGROUP ──▶ ready ── take ──▶ in hand ── ack ──▶ XACK
      │                                           │
      └─ under way with nobody ── XCLAIM ──▶ ready └─ retry_later ──▶ later ── XCLAIM ──▶ ready
```

Redis remembers what it has given and not heard of, and never gives it again by itself. So whoever takes
a partition over, and whoever has lost the connection, first claims what is under way with nobody; then
the server gives what is newer. A reader that is gone cannot be given anything for longer than
``BLOCK_SECONDS``, which is less than a lease; what it was given nevertheless is found when it has been
under way for ``SWEEP_IDLE_SECONDS``.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from redis.exceptions import ResponseError

from finality.adapters.redis.line import ANSWER_SECONDS_MAX, ERRORS, Line
from finality.adapters.redis.publish import Publisher
from finality.adapters.redis.topics import Topics
from finality.adapters.redis.wire import CONSUMER, Fields, envelope_in, stream_key
from finality.ports.broker import PARKED_PARTITIONS, TAKE_EVENTS_MAX, Delivery, parked, parked_topic

BLOCK_SECONDS = 2.0
REACH_SECONDS = 5.0  # A take without a connection waits so long before it says so.
PAUSE_SECONDS = 0.1  # Between attempts to reach the server.
SWEEP_SECONDS = 5.0  # Between looks for what is under way with nobody.
SWEEP_IDLE_SECONDS = 10.0
PAGE_EVENTS = 500
UNACKNOWLEDGED_MAX = 10_000  # Of a subscription; no more are read until some are acknowledged.
KEEP_FOR_EVER = 0

Key = tuple[int, bytes]


class Held(NamedTuple):
    """An event that is not acknowledged yet."""

    partition: int
    id: bytes
    fields: Fields
    attempt: int

    @property
    def key(self) -> Key:
        """Return its place in the topic."""
        return self[:2]


class RedisSubscription:
    """Fulfils ``ports.broker.Subscription``."""

    def __init__(
        self,
        line: Line,
        topics: Topics,
        publisher: Publisher,
        topic: str,
        group: str,
        partitions: Collection[int],
    ) -> None:
        self.is_closed = False
        self._line = line
        self._topics = topics
        self._publisher = publisher
        self._topic = topic
        self._group = group
        self._streams = {stream_key(topic, n): n for n in sorted(partitions)}
        self._ready: deque[Held] = deque()
        self._held: dict[Key, Held] = {}
        self._later: dict[Key, asyncio.Task[None]] = {}
        self._reader = line.connect(BLOCK_SECONDS + ANSWER_SECONDS_MAX, single_connection_client=True)
        self._reader_id = 0
        self._reading: asyncio.Task[None] | None = None
        self._demand = 0
        self._is_wanted = asyncio.Event()
        self._woken = asyncio.Event()
        self._problem: Exception | None = None
        self._is_behind = False
        self._swept_at = time.monotonic()

    async def open(self) -> None:
        """Begin the groups, and claim what whoever had them has left."""
        with self._line.asking():
            await self._begin()
            await self._claim_unknown(0.0)
            self._reader_id = await self._reader.client_id()
        self._reading = asyncio.create_task(self._read())

    async def _begin(self) -> None:
        for stream in self._streams:
            try:
                await self._line.client.xgroup_create(stream, self._group, "0", mkstream=True)
            except ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise

    # ── Reading ─────────────────────────────────────────────────────────────────────────────

    async def _read(self) -> None:
        """Read as long as somebody takes. It is never cancelled while the server may answer."""
        while not self.is_closed:
            await self._is_wanted.wait()
            try:
                await self._read_some()
                self._problem = None
            except ERRORS as error:
                self._problem = error
                self._is_behind = True
                await asyncio.sleep(PAUSE_SECONDS)
            if self._ready or self._problem:
                self._is_wanted.clear()
                self._woken.set()

    async def _read_some(self) -> None:
        if self._is_behind:
            await self._begin()  # A server without its data has lost the groups, too.
            await self._claim_unknown(0.0)
            self._reader_id = await self._reader.client_id()
            self._is_behind = False
        elif time.monotonic() - self._swept_at > SWEEP_SECONDS:
            self._swept_at = time.monotonic()
            await self._claim_unknown(SWEEP_IDLE_SECONDS)
        if self._ready:
            return
        if len(self._held) >= UNACKNOWLEDGED_MAX:
            await asyncio.sleep(PAUSE_SECONDS)
            return
        answer: Any = await self._reader.xreadgroup(
            self._group, CONSUMER, dict.fromkeys(self._streams, ">"), self._demand, int(BLOCK_SECONDS * 1_000)
        )
        for stream, entries in answer or ():
            partition = self._streams[stream.decode()]
            for id, fields in entries:
                self._give(Held(partition, id, fields, 1))

    def _give(self, held: Held) -> None:
        self._held[held.key] = held
        self._ready.append(held)

    async def _claim_unknown(self, idle_seconds: float) -> None:
        """Claim what has been under way for so long with nobody, in order."""
        for stream, partition in self._streams.items():
            after = "-"
            while True:
                page: Any = await self._line.client.xpending_range(
                    stream, self._group, after, "+", PAGE_EVENTS, idle=int(idle_seconds * 1_000)
                )
                lost = [
                    each["message_id"]
                    for each in page
                    if (partition, each["message_id"]) not in self._held
                    and (partition, each["message_id"]) not in self._later
                ]
                await self._claim(
                    stream, lost, {each["message_id"]: each["times_delivered"] for each in page}
                )
                if len(page) < PAGE_EVENTS:
                    break
                after = "(" + page[-1]["message_id"].decode()

    async def _claim(self, stream: str, ids: list[Any], counts: dict[bytes, int]) -> None:
        if not ids:
            return
        claimed: Any = await self._line.client.xclaim(stream, self._group, CONSUMER, 0, ids)
        for id, fields in claimed:
            self._give(Held(self._streams[stream], id, fields, counts[id] + 1))

    # ── The port ────────────────────────────────────────────────────────────────────────────

    async def take(self, limit: int = TAKE_EVENTS_MAX) -> list[Delivery]:
        """Wait until there is something, and return it."""
        give_up: float | None = None
        while not self.is_closed:
            if self._ready:
                return [self._delivery(self._ready.popleft()) for _ in range(min(limit, len(self._ready)))]
            self._demand = limit
            self._woken.clear()
            self._is_wanted.set()
            await self._woken.wait()
            if self._problem is not None and not self._ready:
                give_up = give_up or time.monotonic() + REACH_SECONDS
                if time.monotonic() > give_up:
                    raise self._line.unavailable(self._problem) from self._problem
        return []

    def _delivery(self, held: Held) -> Delivery:
        position = held.id.decode()
        envelope = envelope_in(
            held.fields,
            topic=self._topic,
            position=f"{held.partition}/{position}",
            broker=self._line.address.name,
        )
        return Delivery(envelope, held.partition, position, held.attempt, held)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Tell the server, of all in one message."""
        if not deliveries:
            return
        with self._line.asking():
            async with self._line.client.pipeline(transaction=False) as acks:
                of_partition: dict[int, list[bytes]] = {}
                for each in deliveries:
                    of_partition.setdefault(each.partition, []).append(each.receipt.id)
                for partition, ids in of_partition.items():
                    acks.xack(stream_key(self._topic, partition), self._group, *ids)
                await acks.execute()
        for delivery in deliveries:
            self._held.pop(delivery.receipt.key, None)

    async def retry_later(self, delivery: Delivery, seconds: float) -> None:
        """Hold it back here; it stays under way with the server."""
        held: Held = delivery.receipt
        self._held.pop(held.key, None)
        self._later[held.key] = asyncio.create_task(self._bring_back(held, seconds))

    async def _bring_back(self, held: Held, seconds: float) -> None:
        await asyncio.sleep(seconds)
        stream = stream_key(self._topic, held.partition)
        try:
            await self._claim(stream, [held.id], {held.id: held.attempt})
        except ERRORS:
            self._is_behind = True  # The reader finds it when it finds the server.
        finally:
            self._later.pop(held.key, None)
        self._woken.set()

    async def park(self, delivery: Delivery, because: str) -> None:
        """Publish it on the topic for that, and acknowledge it."""
        await self._topics.declare(parked_topic(self._topic, self._group), PARKED_PARTITIONS, KEEP_FOR_EVER)
        (problem,) = await self._publisher.publish([parked(delivery.envelope, self._group, because)])
        if problem is not None:
            raise problem
        await self.ack([delivery])

    async def close(self) -> None:
        """Let go: what is in hand is under way with nobody, and is claimed by who comes next."""
        if self.is_closed:
            return
        self.is_closed = True
        self._woken.set()
        for task in [*self._later.values()]:
            task.cancel()
        if self._reading is not None:
            await self._end_reading(self._reading)
        with suppress(*ERRORS):  # A server that has gone needs no farewell.
            await self._forget_untaken()
        await self._reader.aclose()

    async def _end_reading(self, reading: asyncio.Task[None]) -> None:
        """Wake the reader at the server, so that nothing is given to it that nobody will take."""
        self._is_wanted.set()
        with suppress(*ERRORS):
            async with asyncio.timeout(BLOCK_SECONDS):
                while not reading.done():
                    await self._line.client.client_unblock(self._reader_id)
                    await asyncio.wait([reading], timeout=PAUSE_SECONDS)
        reading.cancel()
        await asyncio.wait([reading])

    async def _forget_untaken(self) -> None:
        """What was read and never given has not been tried."""
        for held in self._ready:
            stream = stream_key(self._topic, held.partition)
            await self._line.client.xclaim(
                stream, self._group, CONSUMER, 0, [held.id], retrycount=held.attempt - 1, justid=True
            )
