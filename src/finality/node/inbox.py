"""The inbox of a node, as an operator sees it: events that were put aside, or are to come again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from finality.core.envelope import Envelope
from finality.core.errors import NotFound
from finality.core.inbox import Discarded, ReplayAsked, RetryAsked, Word, inbox_stream
from finality.node.insides import Insides
from finality.ports.events import PARKED_MAX, Parked
from finality.runtime.envelopes import envelope_of_parked, events_in
from finality.runtime.inbox import name_of
from finality.runtime.reaction import reader_of
from finality.runtime.relay import RELAY
from finality.runtime.words import ReplayTurn, do, record

REPLAY_EVENTS_MAX = 200  # In one turn; the others' turns come in between.


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """An event that a consumer has put aside.

    Attributes:
        number: What operators call it: its place among all that are parked in this store.
        because: Why; empty: it only waits behind another one of its key.
        attempts: How often it was tried.
        retry_at: When it is tried again by itself; None: when a person says so.
    """

    number: int
    consumer: str
    envelope: Envelope
    because: str
    attempts: int
    parked_at: float
    retry_at: float | None

    @property
    def status(self) -> str:
        """Return what it waits for: ``behind`` another one, a ``retry``, or a ``person``."""
        if not self.because and self.retry_at is None:
            return "behind"
        return "person" if self.retry_at is None else "retry"


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of a replay.

    Attributes:
        again: Inbox that the consumer does not know; they run soon.
        too_old: Inbox that are older than the inbox remembers, and so are left alone.
    """

    again: int
    too_old: int


class Inbox:
    """What a node's consumers have put aside, and may get again; ``node.inbox``."""

    def __init__(self, opened: Callable[[], Awaitable[Insides]]) -> None:
        self._opened = opened

    async def parked(
        self,
        *,
        consumer: str | None = None,
        topic: str | None = None,
        after: int = 0,
        limit: int = PARKED_MAX,
    ) -> list[ParkedEvent]:
        """Return the events that are put aside, in the order in which they were.

        Args:
            consumer: Those of one consumer.
            topic: Those of one topic.
            after: Continues behind the last ``number`` of a page.
            limit: How long a page is.
        """
        home = (await self._opened()).context.home
        found: list[ParkedEvent] = []
        while len(found) < limit:
            page = await home.parked_events(topic=topic, after=after)
            shown = [_shown(row) for row in page if row.reader != RELAY]
            found += [event for event in shown if consumer in (None, event.consumer)]
            if len(page) < PARKED_MAX:
                break
            after = page[-1].place
        return found[:limit]

    async def find(self, name: str) -> ParkedEvent:
        """Return a parked event by its number, or by its id if one consumer has parked it.

        Raises:
            NotFound: None is called so, or several are.
        """
        events = [event for event in await self.parked() if name in (str(event.number), event.envelope.id)]
        if len(events) == 1:
            return events[0]
        why = "several consumers have parked it; name it by its number" if events else "none is called so"
        raise NotFound(f"no parked event is meant by {name!r}: {why}, see `finality event list`")

    async def retry(self, name: str, *, because: str, by: str = "operator") -> ParkedEvent:
        """Have a parked event tried again at once; one that waits behind another one: that one first.

        Raises:
            NotFound: None is called so.
        """
        return await self._say(name, lambda event: RetryAsked(event, because, by))

    async def discard(self, name: str, *, because: str, by: str = "operator") -> ParkedEvent:
        """Give a parked event up: its consumer will never run it; what waits behind it goes on.

        Raises:
            NotFound: None is called so.
        """
        return await self._say(name, lambda event: Discarded(event, because, by))

    async def _say(self, name: str, word: Callable[[str], Word]) -> ParkedEvent:
        insides, event = await self._opened(), await self.find(name)
        now, said = insides.context.environment.now(), word(name_of(event.envelope))
        if not await do(insides.context.home, event.number, event.consumer, said, now):
            raise NotFound(f"event {name} is not parked any more: it was dealt with just now")
        insides.reactions.look()
        return event

    async def replay(
        self, topic: str, *, by: str, since: datetime | None = None, because: str, asked_by: str = "operator"
    ) -> Replayed:
        """Bring events of a topic to a consumer again; those that it knows pass, the others run soon.

        For what a broker has lost and was sent again under new positions, or for types that the consumer
        has learnt to take.

        Raises:
            NotFound: The topic is not there, or the node has no broker.
            DefinitionError: The broker cannot replay.
        """
        insides = await self._opened()
        if insides.link is None:
            raise NotFound(
                "nothing can be replayed: this node has no broker; give it with broker=…, or --broker"
            )
        told = ReplayAsked(topic, None if since is None else since.timestamp(), because, asked_by)
        await record(insides.context.home, inbox_stream(by), told)
        broker, again, too_old = await insides.link.opened(), 0, 0
        now = insides.context.environment.now()
        oldest = now - insides.settings.inbox_kept_seconds
        begin = 0.0 if since is None else since.timestamp()
        for partition in range(await insides.link.declare(topic)):
            events: list[Envelope] = []
            async for delivery in broker.replay(topic, partition):
                for event in events_in(delivery.envelope):
                    if event.time and event.time < max(begin, oldest):
                        too_old += event.time >= begin
                    else:
                        events.append(event)
                if len(events) >= REPLAY_EVENTS_MAX:
                    again += await _replay(insides, topic, by, events, f"{asked_by} says: {because}")
                    events = []
            again += await _replay(insides, topic, by, events, f"{asked_by} says: {because}")
        insides.reactions.look()
        return Replayed(again, too_old)


async def _replay(insides: Insides, topic: str, consumer: str, events: list[Envelope], said: str) -> int:
    if not events:
        return 0
    now = insides.context.environment.now()
    turn = ReplayTurn(reader_of(consumer, topic), consumer, events, now, said)
    insides.context.home.submit(turn)
    return await turn.done


def _shown(row: Parked) -> ParkedEvent:
    consumer = row.reader.removesuffix(f"/{row.topic}")
    return ParkedEvent(
        row.place, consumer, envelope_of_parked(row), row.because, row.attempts, row.parked_at, row.retry_at
    )


class SyncInbox:
    """``Inbox`` without ``await``; ``node.inbox`` of a ``Node``."""

    def __init__(self, inbox: Inbox, wait: Callable[[Any], Any]) -> None:
        self._inbox = inbox
        self._wait = wait

    def parked(
        self,
        *,
        consumer: str | None = None,
        topic: str | None = None,
        after: int = 0,
        limit: int = PARKED_MAX,
    ) -> list[ParkedEvent]:
        """Return the events that are put aside. See ``Inbox.parked``."""
        found: list[ParkedEvent] = self._wait(
            self._inbox.parked(consumer=consumer, topic=topic, after=after, limit=limit)
        )
        return found

    def find(self, name: str) -> ParkedEvent:
        """Return a parked event by its number or id."""
        found: ParkedEvent = self._wait(self._inbox.find(name))
        return found

    def retry(self, name: str, *, because: str, by: str = "operator") -> ParkedEvent:
        """Have a parked event tried again at once."""
        found: ParkedEvent = self._wait(self._inbox.retry(name, because=because, by=by))
        return found

    def discard(self, name: str, *, because: str, by: str = "operator") -> ParkedEvent:
        """Give a parked event up."""
        found: ParkedEvent = self._wait(self._inbox.discard(name, because=because, by=by))
        return found

    def replay(
        self, topic: str, *, by: str, since: datetime | None = None, because: str, asked_by: str = "operator"
    ) -> Replayed:
        """Bring events of a topic to a consumer again. See ``Inbox.replay``."""
        replayed: Replayed = self._wait(
            self._inbox.replay(topic, by=by, since=since, because=because, asked_by=asked_by)
        )
        return replayed
