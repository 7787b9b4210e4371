"""Some partitions of a topic, read for a group: a durable pull consumer for each.

```
   take ── pull ──▶ consumer ── deliveries ──▶ ready ── take ──▶ in hand ── ack ──▶ consumer
                       ▲                         │                  │
                       └───── "in progress", every ten seconds ─────┘
```

A consumer remembers what it has delivered and not heard of. It would deliver that again when its
``ack_wait`` has passed, *behind* newer events. So whoever takes a partition over first asks for all of
it: for a moment with a short ``ack_wait``, and with no room for anything newer.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import suppress

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as Inbox
from nats.js import api
from nats.js.errors import NotFoundError

from finality.adapters.nats.consumer import Consumer, Held
from finality.adapters.nats.line import ERRORS, Line
from finality.adapters.nats.publish import Publisher
from finality.adapters.nats.topics import Topics
from finality.adapters.nats.wire import durable_of, envelope_in, partition_in, place_of, stream_of, subject_of
from finality.core.errors import FinalityError, Unavailable
from finality.ports.broker import PARKED_PARTITIONS, TAKE_EVENTS_MAX, Delivery, parked, parked_topic

ACK_SECONDS = 30.0  # Then a delivery that nobody works on comes again.
PROGRESS_SECONDS = 10.0
UNACKNOWLEDGED_MAX = 1_000  # Deliveries of a partition; no more come until some are acknowledged.
PULL_SECONDS = 60.0
HEARTBEAT_SECONDS = 2.0  # Of a pull that has nothing to deliver.
SILENCE_SECONDS = 2.5 * HEARTBEAT_SECONDS  # Then the pull is lost.
REACH_SECONDS = 5.0  # A take without a connection waits so long before it says so.
PAUSE_SECONDS = 0.1  # Between attempts to find a consumer again.
TAKE_OVER_ACK_SECONDS = 0.2
TAKE_OVER_SECONDS_MAX = 5.0
KEEP_FOR_EVER = 0
HEARTBEAT, EXPIRED, NONE_THERE = "100", "408", "404"


class NatsSubscription:
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
        self._stream = stream_of(topic)
        self._group = group
        self._consumers = {partition: Consumer(partition) for partition in sorted(partitions)}
        self._ready: deque[Held] = deque()
        self._woken = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._address = line.client.new_inbox()
        self._inbox: Inbox | None = None
        self._progress: asyncio.Task[None] | None = None

    # ── Beginning, and beginning again ──────────────────────────────────────────────────────

    async def open(self) -> None:
        """Find the consumers, and what whoever had them has left."""
        self._line.on_return.append(self._lose_all)
        async with self._line.asking():
            self._inbox = await self._line.client.subscribe(
                f"{self._address}.*.*", cb=self._hear, pending_msgs_limit=-1, pending_bytes_limit=-1
            )
        self._progress = asyncio.create_task(self._report_progress())
        await self._find_lost()

    def _lose_all(self) -> None:
        """The connection was away: pulls are forgotten, and deliveries may have been lost with it."""
        for consumer in self._consumers.values():
            consumer.is_lost = True
        self._woken.set()

    async def _find_lost(self) -> None:
        lost = [consumer for consumer in self._consumers.values() if consumer.is_lost]
        if lost:
            await asyncio.gather(*(self._find(consumer) for consumer in lost))

    async def _find(self, consumer: Consumer) -> None:
        info = await self._configure(consumer.partition, ACK_SECONDS, UNACKNOWLEDGED_MAX)
        if consumer.made != info.created:  # With another stream, where its place means something else.
            consumer.made = info.created
            for known in (consumer.held, consumer.later, consumer.done):
                known.clear()
            self._ready = deque(held for held in self._ready if held.partition != consumer.partition)
        consumer.delivered_to = info.delivered.stream_seq if info.delivered else 0
        pending = info.num_ack_pending or 0
        consumer.missing = pending - len(consumer.held) - len(consumer.later)
        if consumer.missing > 0:
            await self._take_over(consumer, pending)
        consumer.wanted = 0
        consumer.is_lost = False

    async def _configure(self, partition: int, ack_seconds: float, pending_max: int) -> api.ConsumerInfo:
        name = durable_of(self._group, partition)
        config = api.ConsumerConfig(
            name=name,
            durable_name=name,
            filter_subject=subject_of(self._topic, partition),
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=ack_seconds,
            max_ack_pending=pending_max,
            max_deliver=-1,
        )
        for is_again in (False, True):
            async with self._line.asking():
                try:
                    return await self._line.streams.add_consumer(self._stream, config)
                except NotFoundError:
                    if is_again:
                        raise
            await self._topics.declare_again(self._topic)
        raise AssertionError("the second attempt has returned or raised")

    async def _take_over(self, consumer: Consumer, pending: int) -> None:
        """Have all deliveries that are under way with nobody made again, before anything newer."""
        await self._configure(consumer.partition, TAKE_OVER_ACK_SECONDS, pending)
        await self._pull(consumer, 2 * pending, TAKE_OVER_SECONDS_MAX)
        with suppress(TimeoutError):  # The stream may have forgotten some by now.
            async with asyncio.timeout(TAKE_OVER_SECONDS_MAX):
                while consumer.missing > 0 and not self.is_closed:
                    self._woken.clear()
                    await self._woken.wait()
        await self._configure(consumer.partition, ACK_SECONDS, UNACKNOWLEDGED_MAX)

    # ── What comes ──────────────────────────────────────────────────────────────────────────

    async def _hear(self, message: Msg) -> None:
        place = place_of(message.reply)
        if place is None:
            self._hear_status(message)
            return
        partition = partition_in(message.subject)
        consumer = self._consumers[partition]
        consumer.wanted -= 1
        consumer.heard_at = self._loop.time()
        consumer.delivered_to = max(consumer.delivered_to, place.sequence)
        due = consumer.later.get(place.sequence, 0.0)
        if consumer.heard_at < due:
            await self._put_back(message, due - consumer.heard_at)
        elif place.sequence not in consumer.held:
            consumer.missing -= 1
            await self._give(consumer, Held(message, partition, place.sequence, place.attempt, consumer.made))

    async def _give(self, consumer: Consumer, held: Held) -> None:
        self._woken.set()
        consumer.later.pop(held.sequence, None)
        if held.sequence in consumer.done:
            consumer.done.remove(held.sequence)
            await self._line.client.publish(held.message.reply)
        else:
            consumer.held[held.sequence] = held
            self._ready.append(held)

    def _hear_status(self, message: Msg) -> None:
        partition, pull = map(int, message.subject.rsplit(".", 2)[1:])
        consumer = self._consumers[partition]
        status = (message.headers or {}).get(api.Header.STATUS.value, "")
        if pull != consumer.pull:
            return
        consumer.heard_at = self._loop.time()
        if status != HEARTBEAT:
            consumer.wanted = 0
            consumer.is_lost = status not in (EXPIRED, NONE_THERE)
            self._woken.set()

    # ── The port ────────────────────────────────────────────────────────────────────────────

    async def take(self, limit: int = TAKE_EVENTS_MAX) -> list[Delivery]:
        """Wait until there is something, and return it."""
        give_up: float | None = None
        while not self.is_closed:
            if self._ready:
                return self._given(limit)
            self._woken.clear()
            try:
                await self._find_lost()
                await self._pull_where_idle(limit)
                give_up = None
            except FinalityError:
                give_up = give_up or self._loop.time() + REACH_SECONDS
                if self._loop.time() > give_up:
                    raise
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if not self._ready:
                with suppress(TimeoutError):
                    async with asyncio.timeout(HEARTBEAT_SECONDS):
                        await self._woken.wait()
        return []

    def _given(self, limit: int) -> list[Delivery]:
        return [self._delivery(self._ready.popleft()) for _ in range(min(limit, len(self._ready)))]

    def _delivery(self, held: Held) -> Delivery:
        position = str(held.sequence)
        envelope = envelope_in(
            held.message.headers, held.message.data,
            topic=self._topic, position=f"{held.partition}/{position}", broker=self._line.address.name,
        )  # fmt: skip
        return Delivery(envelope, held.partition, position, held.attempt, held)

    async def _pull_where_idle(self, limit: int) -> None:
        now = self._loop.time()
        for consumer in self._consumers.values():
            if consumer.wanted <= 0 or now - consumer.heard_at > SILENCE_SECONDS:
                await self._pull(consumer, limit, PULL_SECONDS)

    async def _pull(self, consumer: Consumer, count: int, seconds: float) -> None:
        consumer.pull += 1
        consumer.wanted = count
        consumer.heard_at = self._loop.time()
        durable = durable_of(self._group, consumer.partition)
        heartbeat = min(HEARTBEAT_SECONDS, seconds / 4)
        request = {"batch": count, "expires": int(seconds * 1e9), "idle_heartbeat": int(heartbeat * 1e9)}
        async with self._line.asking():
            await self._line.client.publish(
                f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{durable}",
                json.dumps(request).encode(),
                reply=f"{self._address}.{consumer.partition}.{consumer.pull}",
            )

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Tell the consumers; each answers for the last of its own, behind all others."""
        of_partition: dict[int, list[Held]] = {}
        for delivery in deliveries:
            of_partition.setdefault(delivery.partition, []).append(delivery.receipt)
        await asyncio.gather(*(self._ack(partition, held) for partition, held in of_partition.items()))

    async def _ack(self, partition: int, all_held: list[Held]) -> None:
        consumer = self._consumers[partition]
        if consumer.is_lost:
            await self._find(consumer)
        ours = [held for held in all_held if held.made == consumer.made]
        known = [held for held in ours if held.sequence <= consumer.delivered_to]
        forgotten = [held.sequence for held in ours if held.sequence > consumer.delivered_to]
        if known:
            await self._ack_known(known)
        consumer.done.update(forgotten)
        for held in ours:
            consumer.held.pop(held.sequence, None)

    async def _ack_known(self, all_held: list[Held]) -> None:
        *others, last = all_held
        async with self._line.asking():
            for each in others:
                await self._line.client.publish(each.message.reply)
        await self._line.ask(last.message.reply, b"")

    async def retry_later(self, delivery: Delivery, seconds: float) -> None:
        """Have the consumer hold it back."""
        held: Held = delivery.receipt
        consumer = self._consumers[held.partition]
        consumer.later[held.sequence] = self._loop.time() + seconds
        consumer.held.pop(held.sequence, None)
        async with self._line.asking():
            await self._put_back(held.message, seconds)

    async def _put_back(self, message: Msg, seconds: float) -> None:
        delay = json.dumps({"delay": int(seconds * 1e9)}).encode()
        await self._line.client.publish(message.reply, b"-NAK " + delay)

    async def park(self, delivery: Delivery, because: str) -> None:
        """Publish it on the topic for that, and acknowledge it."""
        await self._topics.declare(parked_topic(self._topic, self._group), PARKED_PARTITIONS, KEEP_FOR_EVER)
        (problem,) = await self._publisher.publish([parked(delivery.envelope, self._group, because)])
        if problem is not None:
            raise problem
        await self.ack([delivery])

    async def _report_progress(self) -> None:
        """Keep what is in hand from coming again."""
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            with suppress(Unavailable):  # What is not heard is said again, or comes again.
                async with self._line.asking():
                    for held in self._all_held():
                        await self._line.client.publish(held.message.reply, b"+WPI")

    def _all_held(self) -> list[Held]:
        """Return what is in hand, in order within each partition."""
        return [consumer.held[n] for consumer in self._consumers.values() for n in sorted(consumer.held)]

    async def close(self) -> None:
        """Give back what is in hand, in order."""
        if self.is_closed:
            return
        self.is_closed = True
        self._woken.set()
        if self._progress is not None:
            self._progress.cancel()
        self._line.on_return.remove(self._lose_all)
        with suppress(Unavailable, *ERRORS):  # The consumers will find out by themselves.
            async with self._line.asking():
                if self._inbox is not None:
                    await self._inbox.unsubscribe()
                for held in self._all_held():
                    await self._line.client.publish(held.message.reply, b"-NAK")
                await self._line.client.flush()
