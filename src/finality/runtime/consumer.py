"""A consumer in a topic: takes what its partitions hold, has reactions called, acknowledges.

```
   leases of partitions ─▶ subscribe ─▶ take ─▶ lane of the key ─▶ react ─▶ acknowledge
                                          ▲                          │ fails
                                       back-pressure            wait, again ─▶ park ─▶ acknowledge
```

The leases are for efficiency: what makes an event take effect once is the inbox.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from itertools import islice, takewhile
from typing import Any

from finality.core.backoff import Retry
from finality.core.envelope import Envelope
from finality.core.errors import DefinitionError, FinalityError, OutcomeUnknown, Refused, Unavailable
from finality.ports.broker import Delivery, Subscription
from finality.ports.codec import DecodeError
from finality.ports.events import Progress
from finality.runtime.batches import Batches
from finality.runtime.failure import FailTurn, Failure, KeepDeadLettersTurn, moved_back, moved_since
from finality.runtime.inbox import Arrived, Verdict
from finality.runtime.lanes import Lanes
from finality.runtime.link import Link
from finality.runtime.reacting import Kit, Overtaken, Reacting
from finality.runtime.reaction import ANY, ReactionCode, reader_of
from finality.runtime.shares import Shares

log = logging.getLogger("finality.reactions")

BATCH_EVENTS_MAX = 100  # For a function that takes a list: one commit, and one failure to take apart.
LET_GO_SECONDS = 3.0  # For what is in hand when partitions change hands; less than a lease.
TROUBLE = Retry(attempts=None, first_seconds=0.05, cap_seconds=5.0)


class Hopeless(Exception):
    """An event can never run as things are: its data does not fit, or it is too old."""


class Consumer:
    """Fulfils ``runtime.shares.ShareHolder`` for the partitions of a topic.

    Attributes:
        reader: Its name among the readers of the home store.
        trouble: Why it does not come forward at the moment; empty: it does.
    """

    def __init__(
        self, kit: Kit, link: Link, topic: str, codes: Sequence[ReactionCode], window_seconds: float
    ) -> None:
        self.topic, self.consumer = topic, codes[0].consumer
        self.reader = reader_of(self.consumer, self.topic)
        self.trouble = ""
        self._codes = {name: code for code in codes for name in code.takes}
        self._is_batch = any(code.is_batch for code in codes)
        self._slots = {code.name: asyncio.Semaphore(code.concurrency) for code in codes}
        self._kit, self._link = kit, link
        self._environment = kit.context.environment
        self._reacting = Reacting(kit)
        self._window_seconds = window_seconds
        self._partitions: set[int] = set()
        self._changed = asyncio.Event()
        self._subscribed: frozenset[int] = frozenset()
        self._unsubscribed = asyncio.Condition()
        self.parked: Callable[[], None] = lambda: None
        """Called when an event was parked."""

    @property
    def holds_first(self) -> bool:
        """Say whether this node tries what is parked again: whoever holds the first partition does."""
        return 0 in self._partitions

    async def lag(self) -> int:
        """Return how many events it has not dealt with yet.

        Raises:
            Unavailable: The broker is out of reach.
        """
        await self._link.declare(self.topic)
        return await (await self._link.opened()).lag(self.topic, self.consumer)

    def code_of(self, type_name: str) -> ReactionCode | None:
        """Return the reaction that takes events of a type; None: they are for others."""
        return self._codes.get(type_name) or self._codes.get(ANY)

    def _code(self, envelope: Envelope) -> ReactionCode:
        code = self.code_of(envelope.type)
        assert code is not None, f"a {envelope.type} passes: nobody takes it"
        return code

    # ── Partitions ──────────────────────────────────────────────────────────────────────────

    def take(self, progress: Progress) -> None:
        """Read a partition as well."""
        self._partitions.add(progress.share)
        self._changed.set()

    async def let_go(self, share: int) -> None:
        """Read a partition no more; what is in hand ends first, or is left to whoever reads it next."""
        self._partitions.discard(share)
        self._changed.set()
        async with self._unsubscribed:
            await self._unsubscribed.wait_for(lambda: share not in self._subscribed)

    async def run(self, lease_seconds: float) -> None:
        """Lease partitions and read them until cancelled, then give them back."""
        partitions = await self._declared()
        context = self._kit.context
        shares = Shares(context, context.home, self.reader, partitions, self, seconds=lease_seconds)
        leasing, reading = asyncio.ensure_future(shares.run()), asyncio.ensure_future(self._follow())
        try:
            await asyncio.wait([leasing, reading], return_when=asyncio.FIRST_COMPLETED)
        finally:
            leasing.cancel()
            await asyncio.wait([leasing])
            try:
                await asyncio.wait_for(shares.leave(), 2 * LET_GO_SECONDS)
            except (FinalityError, TimeoutError) as error:
                log.warning("partitions of %s could not be given back: %s", self.reader, error)
            reading.cancel()
            await asyncio.wait([reading])

    async def _declared(self) -> int:
        failures = 0
        own = [code for code in self._codes.values() if code.topic == self.topic]
        while True:
            try:
                turn = KeepDeadLettersTurn(own)
                self._kit.context.home.submit(turn)
                await turn.done
                return await self._link.declare(self.topic)
            except FinalityError as error:
                failures += 1
                await self._pause(error, failures)

    async def _follow(self) -> None:
        """Subscribe to the partitions that are held, anew whenever they change."""
        while True:
            self._changed.clear()
            self._subscribed = frozenset(self._partitions)
            reading = asyncio.ensure_future(self._read(self._subscribed)) if self._subscribed else None
            try:
                await self._changed.wait()
            finally:
                if reading is not None:
                    reading.cancel()
                    await asyncio.wait([reading])
                async with self._unsubscribed:
                    self._subscribed = frozenset()
                    self._unsubscribed.notify_all()

    async def _read(self, partitions: frozenset[int]) -> None:
        failures = 0
        while True:
            try:
                broker = await self._link.opened()
                subscription = await broker.subscribe(self.topic, self.consumer, partitions)
                failures = 0
                await self._consume(subscription)
            except FinalityError as error:
                failures += 1
                await self._pause(error, failures)
            except Exception as error:
                log.exception("consumer %s begins anew", self.reader)
                failures += 1
                await self._pause(error, failures)

    async def _pause(self, error: Exception, failures: int) -> None:
        self.trouble = str(error) or repr(error)
        log.warning("consumer %s tries again: %s", self.reader, self.trouble)
        await asyncio.sleep(TROUBLE.delay_seconds(failures, self._environment.chance()))

    async def _consume(self, subscription: Subscription) -> None:
        acks = Acks(subscription)
        batches = Batches(acks.put)
        lanes = Lanes(self._serve, self._together, batches.put)
        try:
            while True:
                await lanes.room()
                deliveries = await subscription.take()
                if not deliveries:
                    raise Unavailable(f"the subscription to {self.topic} was closed: subscribe again")
                for delivery in (part for each in deliveries for part in batches.parts(each)):
                    event = self._taken(delivery.envelope)
                    if event is not None:
                        lanes.put(self._lane(delivery), delivery._replace(envelope=event))
                    else:
                        batches.put([delivery])  # It is for others.
                self.trouble = ""
        finally:
            await lanes.close(LET_GO_SECONDS)
            await acks.close()
            await subscription.close()

    def _taken(self, envelope: Envelope) -> Envelope | None:
        """Return the event that a reaction here takes; None: none does."""
        code = self.code_of(envelope.type)
        if code is None or code.topic == self.topic:
            return None if code is None else envelope
        return moved_back(envelope, self.consumer)

    def _lane(self, delivery: Delivery) -> Hashable:
        if self._is_batch:
            return delivery.partition
        return delivery.envelope.key or (delivery.envelope.source, delivery.envelope.id)

    # ── One event, or one batch ─────────────────────────────────────────────────────────────

    def _together(self, waiting: Iterable[Delivery]) -> list[Delivery]:
        """Return the first delivery, or a batch of those whose code is the same."""
        first = next(iter(waiting))
        code = self._code(first.envelope)
        if not code.is_batch:
            return [first]
        alike = takewhile(lambda delivery: self._code(delivery.envelope) is code, waiting)
        return [*islice(alike, BATCH_EVENTS_MAX)]

    async def _serve(self, deliveries: list[Delivery]) -> None:
        """Deal with events until each has run or is parked; only then are they acknowledged."""
        if len(deliveries) > 1 and await self._served_together(deliveries):
            return
        for delivery in deliveries:
            await self._serve_one(delivery.envelope)

    async def _served_together(self, deliveries: list[Delivery]) -> bool:
        """Try a batch once; if it fails, one of it is to blame, and each is tried alone."""
        code = self._code(deliveries[0].envelope)
        try:
            arrived = [self._arrived(code, delivery.envelope) for delivery in deliveries]
            async with self._slots[code.name]:
                await self._reacting.react(code, arrived)
        except Exception as error:  # Whatever the user's code raises.
            log.info("a batch of %s is taken apart: %s", self.reader, error)
            return False
        return True

    async def _serve_one(self, envelope: Envelope) -> None:
        code, troubles = self._code(envelope), 0
        arrived = self._known(code, envelope)
        attempt = arrived.moved + 1
        while True:
            try:
                arrived = self._arrived(code, envelope)
                async with self._slots[code.name]:
                    [verdict] = await self._reacting.react(code, [arrived])
                if verdict is Verdict.EXPIRED:
                    log.warning("request %s is not run: its deadline is over", envelope.correlation_id)
                return
            except (Unavailable, OutcomeUnknown, Overtaken):
                troubles += 1  # Of the store, not of the event.
                await asyncio.sleep(TROUBLE.delay_seconds(troubles, self._environment.chance()))
            except (Hopeless, Refused, DefinitionError) as error:
                return await self._park(code, arrived, error, attempt, is_hopeless=True)
            except Exception as error:  # Whatever the user's code raises.
                if code.retry.is_exhausted(attempt):
                    return await self._park(code, arrived, error, attempt)
                await asyncio.sleep(code.retry.delay_seconds(attempt, self._environment.chance()))
                attempt += 1

    def _arrived(self, code: ReactionCode, envelope: Envelope) -> Arrived:
        """Return an event with its value.

        Raises:
            Hopeless: It is too old for the inbox to know it again, or its data does not fit.
        """
        since = envelope.time if code.topic == self.topic else moved_since(envelope)[1]
        age = self._environment.now() - since
        if since and age > self._window_seconds:
            raise Hopeless(
                f"it is {age / 86_400:.0f} days old, and the inbox knows events again for "
                f"{self._window_seconds / 86_400:.0f}: nobody can tell whether it has run; see that it has "
                "not, then retry it, or discard it"
            )
        return replace(self._known(code, envelope), value=self.value(code, envelope))

    def _known(self, code: ReactionCode, envelope: Envelope) -> Arrived:
        moved = 0 if code.topic == self.topic else moved_since(envelope)[0]
        return Arrived(code.reader, envelope, None, moved=moved)

    def value(self, code: ReactionCode, envelope: Envelope) -> Any:
        """Return what the data of an event stands for.

        Raises:
            Hopeless: It does not fit the class that the reaction takes.
        """
        if code.is_raw:
            return None
        try:
            return self._kit.context.codec.unpack(
                envelope.data, envelope.content_type, code.takes[envelope.type]
            )
        except DecodeError as error:
            raise Hopeless(f"its data does not fit: {error}") from error

    async def _park(
        self, code: ReactionCode, arrived: Arrived, error: Exception, attempts: int,
        *, is_hopeless: bool = False,
    ) -> None:  # fmt: skip
        """Put an event aside, and those of its key that come behind it; or move it to its retry topic."""
        now, troubles = self._environment.now(), 0
        retry_at = None if is_hopeless else self.retry_at(code, attempts)
        because = str(error) if isinstance(error, Hopeless | FinalityError) else f"{error!r}"
        while True:
            failure = Failure(because, attempts, retry_at)
            turn = FailTurn(self.consumer, arrived, failure, now, retry_topic=code.retry_topic)
            self._kit.context.home.submit(turn)
            try:
                await turn.done
                break
            except (Unavailable, OutcomeUnknown):
                troubles += 1
                await asyncio.sleep(TROUBLE.delay_seconds(troubles, self._environment.chance()))
        what = "moved" if code.retry_topic and retry_at is not None else "parked"
        log.warning("event %s of %s is %s: %s", arrived.envelope.id, self.reader, what, because)
        self.parked()

    def retry_at(self, code: ReactionCode, attempts: int) -> float | None:
        """Return when a parked event is tried again by itself; None: a person has to say so."""
        later = attempts - (code.retry.attempts or 0) + 1
        if code.later.attempts is not None and later > code.later.attempts:
            return None
        return self._environment.now() + code.later.delay_seconds(max(later, 1), self._environment.chance())


class Acks:
    """Acknowledges what is done with, many at once: those that gather while the broker answers."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._done: list[Delivery] = []
        self._task: asyncio.Task[None] | None = None

    def put(self, deliveries: list[Delivery]) -> None:
        """Acknowledge these soon."""
        self._done += deliveries
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._send())

    async def _send(self) -> None:
        failures = 0
        while self._done:
            done, self._done = self._done, []
            try:
                await self._subscription.ack(done)
                failures = 0
            except FinalityError as error:
                failures += 1
                self._done = done + self._done
                log.warning("events are acknowledged later: %s", error)
                await asyncio.sleep(TROUBLE.delay_seconds(failures, 0.5))

    async def close(self) -> None:
        """Let those under way end; what is not acknowledged is delivered again, and known."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=LET_GO_SECONDS)
            self._task.cancel()
