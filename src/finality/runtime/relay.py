"""The relay: the reader that carries events from a store's outbox to the broker.

```
   outbox ──page──▶ publish ──▶ stored ────────────────────────▶ advance the cursor
             ▲        │  ├────▶ rejected, and its key behind it ▶ parked, in the same commit
        next page     │  └────▶ unavailable ──▶ wait, publish the same events again, by the same ids
       while this one is out
```

It marks after it has published, so what it may do is publish twice: an inbox knows an event again by
its id and source. Within a key order holds, since one node has the share at a time, and publishes a
batch whole before the next. A node that was paused beyond its lease can only repeat what it had in hand.

Source: Transactional Outbox, C. Richardson, Microservices Patterns, 2018, chapter 3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from finality.core.envelope import Envelope
from finality.core.errors import DefinitionError, Unavailable
from finality.core.ids import Cursor, TransactionId
from finality.core.placement import partition_of
from finality.ports.broker import Rejected
from finality.ports.environment import PUBLISH_AFTER, PUBLISH_BEFORE, Environment
from finality.ports.events import OUTBOX_EVENTS_MAX, SHARES, OutboxPage, Parked, Progress
from finality.ports.store import LocalTransaction, Store
from finality.runtime.asked import Asked
from finality.runtime.context import Context
from finality.runtime.envelopes import BadRow, envelope_of_parked, envelope_of_row, parked_of, with_schema
from finality.runtime.link import Link
from finality.runtime.reader import Reader

RELAY = "relay"
OUTBOX_KEPT_SECONDS = 3 * 86_400.0  # A weekend: until somebody sees that the broker has lost something.
RELEASE_MAX = 500  # Delayed events that go into the outbox in one turn.
HOUSE_SECONDS = 1.0  # How long what is old or delayed waits at most in a share that always has a next page.
PRUNE_SECONDS = 60.0
PRUNE_ROWS_MAX = 1_000  # In one turn; the next step goes on.
PARKED_LOOK_SECONDS = 1.0  # How soon an operator's word about a parked event is heard.
PARKED_LOOKS_SHARE = 20  # Looking takes at most such a part of the time, however much is parked.
IDENTITY_BITS = 96

Key = tuple[str, str]


class IdentityTurn(Asked[str]):
    """Names the store, once and for ever: what is published in it says so."""

    def __init__(self, new: str) -> None:
        super().__init__("name of the store", answer="")
        self._new = new

    def run(self, tx: LocalTransaction) -> None:
        """Read the name, or give it."""
        self.answer = name_of_store(tx, self._new)


def name_of_store(tx: LocalTransaction, new: str) -> str:
    """Return the store's name; it is *new* if it has none so far."""
    where = TransactionId("finality"), "store", "name"
    known = tx.witness(*where)
    if known is None:
        tx.testify(*where, new)
    return known or new


async def source_of(store: Store, environment: Environment) -> str:
    """Return what a store's events say who published them: the same in every process, for ever."""
    turn = IdentityTurn(f"{environment.random_bits(IDENTITY_BITS):024x}")
    store.submit(turn)
    return f"finality:{await turn.done}"


class RelayTurn(Asked[int]):
    """Advances a share's cursor, with whatever goes with it; answers how many were pruned or released."""

    def __init__(
        self,
        progress: Progress,
        cursor: Cursor,
        *,
        park: Sequence[Parked] = (),
        unpark: Sequence[int] = (),
        repark: Sequence[Parked] = (),
        prune_before: float | None = None,
        releases: bool = False,
    ) -> None:
        super().__init__(f"relay of share {progress.share}", answer=0)
        self._progress = progress
        self._cursor = cursor
        self._park = park
        self._unpark = unpark
        self._repark = repark
        self._prune_before = prune_before
        self._releases = releases

    def run(self, tx: LocalTransaction) -> None:
        """Write, unless the share has another holder by now."""
        tx.advance(self._progress, self._cursor)
        for parked in self._park:
            tx.park(parked)
        for place in self._unpark:
            tx.unpark(place)
        for parked in self._repark:
            tx.repark(
                parked.place, because=parked.because, attempts=parked.attempts, retry_at=parked.retry_at
            )
        if self._prune_before is not None:
            share, before = self._progress.share, self._prune_before
            self.answer = tx.prune_outbox(share, before=before, behind=self._cursor, limit=PRUNE_ROWS_MAX)
        if self._releases:
            self.answer = tx.release_due(RELEASE_MAX)


class Relay:
    """What the shares of one store's outbox have in common.

    Attributes:
        reader: The loop that relays.
        published: How many events it has brought to the broker, repeated ones included.
    """

    def __init__(
        self,
        context: Context,
        store: Store,
        link: Link,
        *,
        retention_seconds: float,
        lease_seconds: float,
        schemas: str = "",
    ) -> None:
        self.store = store
        self.link = link
        self.environment = context.environment
        self._tracing = context.tracing
        self._schemas = schemas
        self.retention_seconds = retention_seconds
        self.published = 0
        self.reader = Reader(
            context, store, RELAY, SHARES, lambda p: RelayWork(self, p), lease_seconds=lease_seconds
        )
        self._source = ""

    async def source(self) -> str:
        """Return what the store's events say who published them."""
        if not self._source:
            self._source = await source_of(self.store, self.environment)
        return self._source

    async def publish(self, events: Sequence[Envelope]) -> list[str | Unavailable | None]:
        """Bring events to the broker; return of each None, why it is rejected, or that nobody knows.

        Behind a rejected one its key is rejected, too: with an empty reason.
        """
        if self._schemas:
            events = [with_schema(event, self._schemas) for event in events]
        bad = await self._undeclared({event.topic for event in events})
        good = [event for event in events if event.topic not in bad] if bad else events
        broker = await self.link.opened()
        self.environment.reach(PUBLISH_BEFORE)
        began = self.environment.now()
        answers = await broker.publish(good)
        self.environment.reach(PUBLISH_AFTER)
        self._tracing.sent(broker.name, good, answers, began=began, ended=self.environment.now())
        self.published += answers.count(None)
        if not bad and answers.count(None) == len(events):
            return [None] * len(events)
        told = iter(answers)
        found: list[str | Unavailable | None] = []
        rejected: set[Key] = set()
        for event in events:
            answer = bad[event.topic] if event.topic in bad else next(told)
            key = event.topic, event.key
            if answer is None:
                found.append(None)
                continue
            self.link.forget(event.topic)
            if event.key and key in rejected:
                found.append("")
            elif isinstance(answer, Rejected | DefinitionError):
                rejected.add(key)
                found.append(str(answer))
            else:
                found.append(answer if isinstance(answer, Unavailable) else Unavailable(str(answer)))
        return found

    async def _undeclared(self, topics: set[str]) -> dict[str, DefinitionError]:
        bad = {}
        for topic in topics:
            try:
                await self.link.declare(topic)
            except DefinitionError as error:  # A foreign writer's; the events of others go on.
                bad[topic] = error
        return bad


class RelayWork:
    """One share of an outbox, as long as this node relays it."""

    def __init__(self, relay: Relay, progress: Progress) -> None:
        self._relay = relay
        self._store = relay.store
        self._progress = progress
        self._cursor = progress.cursor
        self._page: OutboxPage | None = None
        self._left: list[Envelope] = []
        self._aside: list[Parked] = []
        self._next: asyncio.Task[OutboxPage] | None = None
        self._parked_keys: set[Key] = set()
        self._look_at_parked = 0.0
        self._has_parked = True
        self._prune_at = self._keep_house_at = 0.0

    async def step(self) -> float | None:
        """Relay a page; without one, and now and then, see to what is delayed, parked or old."""
        now = self._relay.environment.now()
        if self._page is None and self._has_parked and now >= self._look_at_parked:
            await self._go_on_with_parked(now)
        if self._page is None:
            self._begin(await self._read(), await self._relay.source())
        has_page = self._page is not None
        if self._page is not None:
            await self._publish_page(self._page)
        if has_page and now < self._keep_house_at:
            return 0
        again_at = await self._keep_house(now)
        return 0 if has_page else again_at

    async def close(self) -> None:
        """Drop the page that was read ahead."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait([self._next])

    # ── A page of the outbox ────────────────────────────────────────────────────────────────

    async def _read(self) -> OutboxPage:
        task, self._next = self._next, None
        if task is not None and (page := await task).rows:
            return page
        return await self._outbox(self._cursor)

    async def _outbox(self, after: Cursor) -> OutboxPage:
        return await self._store.outbox(self._progress.share, after=after, limit=OUTBOX_EVENTS_MAX)

    def _begin(self, page: OutboxPage, source: str) -> None:
        """Take a page in hand, if there is something on it."""
        if not page.rows:
            self._cursor = page.cursor  # Nobody need look again at what other shares have up to there.
            return
        self._page, self._left, self._aside = page, [], []
        for row in page.rows:
            try:
                event = envelope_of_row(row, source)
            except BadRow as bad:
                self._put_aside(bad.envelope, str(bad))
                continue
            if self._parked_keys and (event.topic, event.key) in self._parked_keys:
                self._put_aside(event, "")
            else:
                self._left.append(event)
        if len(page.rows) == OUTBOX_EVENTS_MAX:
            # There is more, so it is read while this page is out.
            self._next = asyncio.ensure_future(self._outbox(page.cursor))

    def _put_aside(self, event: Envelope, because: str) -> None:
        self._aside.append(parked_of(event, RELAY, because, self._relay.environment.now()))
        self._has_parked = True
        if event.key:
            self._parked_keys.add((event.topic, event.key))

    async def _publish_page(self, page: OutboxPage) -> None:
        """Publish what is left of the page in hand, and advance behind it.

        Raises:
            Unavailable: Some of it may not be stored; the next step goes on with these.
        """
        if self._left:
            events, unknown = self._left, None
            self._left = []
            try:
                answers = await self._relay.publish(events)
            except BaseException:
                self._left = events
                raise
            for event, answer in zip(events, answers, strict=True):
                if answer is None:
                    continue
                if isinstance(answer, str):
                    self._put_aside(event, answer)
                else:
                    self._left.append(event)
                    unknown = answer
            if unknown is not None:
                raise unknown
        await self._advance(page.cursor, park=self._aside)
        self._page = None

    async def _advance(
        self,
        cursor: Cursor,
        *,
        park: Sequence[Parked] = (),
        unpark: Sequence[int] = (),
        repark: Sequence[Parked] = (),
        prune_before: float | None = None,
        releases: bool = False,
    ) -> int:
        turn = RelayTurn(
            self._progress, cursor, park=park, unpark=unpark, repark=repark,
            prune_before=prune_before, releases=releases,
        )  # fmt: skip
        self._store.submit(turn)
        count = await turn.done
        self._cursor = cursor
        return count

    # ── What is parked ──────────────────────────────────────────────────────────────────────

    async def _go_on_with_parked(self, now: float) -> None:
        """Publish what a person has put right or given up, and what waited behind it, in order."""
        lines: dict[tuple[str, str, int], list[Parked]] = {}
        found = await self._all_parked()
        took = self._relay.environment.now() - now
        self._look_at_parked = now + max(PARKED_LOOK_SECONDS, took * PARKED_LOOKS_SHARE)
        for parked in found:
            # Those without a key wait for nobody, so each is a line of its own.
            lines.setdefault((parked.topic, parked.key, 0 if parked.key else parked.place), []).append(parked)
        for line in lines.values():
            ready: list[Parked] = []
            for parked in line:
                if parked.because and (parked.retry_at is None or parked.retry_at > now):
                    break
                ready.append(parked)
            batch = ready[:OUTBOX_EVENTS_MAX]
            if batch and await self._publish_parked(batch):
                del line[: len(batch)]
                if len(batch) < len(ready):
                    self._look_at_parked = now  # The rest goes at once.
        self._parked_keys = {(topic, key) for (topic, key, _), line in lines.items() if key and line}
        self._has_parked = any(lines.values())

    async def _all_parked(self) -> list[Parked]:
        found: list[Parked] = []
        share, after = self._progress.share, 0
        while page := await self._store.parked_events(reader=RELAY, after=after):
            found += [each for each in page if partition_of(f"{each.topic}/{each.key}", SHARES) == share]
            after = page[-1].place
        return found

    async def _publish_parked(self, line: list[Parked]) -> bool:
        """Publish events of one key; say whether all of them are stored.

        Raises:
            Unavailable: Some may not be stored; they stay parked.
        """
        answers = await self._relay.publish([envelope_of_parked(parked) for parked in line])
        stored = [parked.place for parked, answer in zip(line, answers, strict=True) if answer is None]
        again = [
            parked._replace(because=answer, attempts=parked.attempts + 1, retry_at=None)
            for parked, answer in zip(line, answers, strict=True)
            if isinstance(answer, str) and answer
        ]
        await self._advance(self._cursor, unpark=stored, repark=again)
        for answer in answers:
            if isinstance(answer, Unavailable):
                raise answer
        return len(stored) == len(line)

    # ── What is delayed, and what is old ────────────────────────────────────────────────────

    async def _keep_house(self, now: float) -> float | None:
        """Release what is due and prune what is old; return when to come again."""
        again: list[float] = [self._look_at_parked] if self._has_parked else []
        if now >= self._prune_at:
            before = now - self._relay.retention_seconds
            if await self._advance(self._cursor, prune_before=before):
                again.append(0)
            else:
                self._prune_at = now + PRUNE_SECONDS
        if self._progress.share == 0 and (due := await self._store.next_release()) is not None:
            if due <= now:
                await self._advance(self._cursor, releases=True)
                self._relay.reader.kick()
                due = 0
            again.append(due)
        again_at = min(again, default=None)
        self._keep_house_at = 0 if again_at == 0 else now + HOUSE_SECONDS  # The rest goes with the next page.
        return again_at
