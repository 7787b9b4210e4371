"""The outbox of a store, as an operator sees it: what is in it, how far it is relayed, what is parked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from finality.core.envelope import Envelope
from finality.core.errors import LimitExceeded, NotFound
from finality.core.ids import START, Cursor, NodeId
from finality.core.outbox import Discarded, ResendAsked, RetryAsked, outbox_stream
from finality.core.outbox import OutboxEvent as Word
from finality.ports.events import PARKED_MAX, SHARES, OutboxEvent, Parked, Progress
from finality.ports.store import LocalTransaction
from finality.runtime.context import Context
from finality.runtime.envelopes import BadRow, envelope_of_row, parked_of
from finality.runtime.relay import RELAY, source_of
from finality.runtime.words import say

LIST_EVENTS_MAX = 1_000  # One page; an outbox may hold millions.
WAITING_EVENTS_MAX = 10_000  # How far is counted what waits: beyond it is too much in any case.
RESEND_EVENTS_MAX = 10_000  # Of chosen topics: they are parked in one turn, for a part of a second.
Deed = Callable[[LocalTransaction], bool]
COLUMNS = "position, id, aggregatetype, aggregateid, type, payload, headers, at"


@dataclass(frozen=True, slots=True)
class Share:
    """One share of an outbox: who relays it, and what waits.

    Attributes:
        node: Who relays it; None: nobody does.
        waiting: Events that are not relayed yet, at most ``WAITING_EVENTS_MAX``.
        oldest_at: When the first of them was published.
    """

    number: int
    node: NodeId | None
    waiting: int
    oldest_at: float | None


class Outbox:
    """The outbox of one store.

    What a person has done with it is in the journal, with who, when and why; in the commit that does it where
    that is the home store's.
    """

    def __init__(self, context: Context, at: str | None) -> None:
        self._context = context
        self._store = context.store(at)
        self._stream = outbox_stream(at or "")

    # ── Looking ─────────────────────────────────────────────────────────────────────────────

    async def events(
        self, *, topic: str | None = None, before: int | None = None, limit: int = 100
    ) -> list[OutboxEvent]:
        """Return what is in the outbox, newest first; relayed or not.

        Args:
            before: Continues behind the last ``position`` of a page.
        """
        assert limit <= LIST_EVENTS_MAX, f"{limit} events are more than a page"
        conditions = [] if before is None else [f"position < {int(before)}"]
        if topic is not None:
            conditions.append(f"aggregatetype = {_literal(topic)}")
        where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
        return await self._rows(f"{where}ORDER BY position DESC LIMIT {int(limit)}")

    async def event(self, id: str) -> OutboxEvent:
        """Return an event by its id or its position.

        Raises:
            NotFound: It is not in the outbox, or not any more.
        """
        by_position = f" OR position = {int(id)}" if id.isdecimal() and len(id) < 19 else ""
        found = await self._rows(f"WHERE id = {_literal(id)}{by_position} LIMIT 1")
        if not found:
            raise NotFound(
                f"no event {id!r} is in the outbox of {self._store.name}: it never was, or it was relayed "
                "and has been pruned"
            )
        return found[0]

    async def _rows(self, rest: str) -> list[OutboxEvent]:
        rows = await self._store.query(f"SELECT {COLUMNS} FROM finality_outbox {rest}")  # noqa: S608 - no user's text
        return [OutboxEvent(*row) for row in rows]

    async def shares(self) -> list[Share]:
        """Return how far the outbox is relayed, by share."""
        now = self._context.environment.now()
        rows = {row.share: row for row in await self._store.progress(RELAY)}
        return [await self._share(number, rows.get(number), now) for number in range(SHARES)]

    async def _share(self, number: int, progress: Progress | None, now: float) -> Share:
        is_held = progress is not None and progress.lease_until > now
        cursor = START if progress is None else progress.cursor
        waiting, oldest = 0, None
        while waiting < WAITING_EVENTS_MAX:
            page = await self._store.outbox(number, after=cursor)
            if not page.rows:
                break
            oldest = page.events[0].at if oldest is None else oldest
            waiting, cursor = waiting + len(page.rows), page.cursor
        return Share(number, progress.node if progress and is_held else None, waiting, oldest)

    async def parked(self, *, topic: str | None = None, limit: int = PARKED_MAX) -> list[Parked]:
        """Return what the broker has rejected, and what waits behind it, in order."""
        return await self._store.parked_events(reader=RELAY, topic=topic, limit=limit)

    # ── Acting ──────────────────────────────────────────────────────────────────────────────

    async def resend(
        self,
        since: datetime | int,
        *,
        topics: Collection[str] = (),
        because: str,
        by: str = "operator",
    ) -> int:
        """Relay again what was published since a time or a position; return how many events that are.

        A broker may have lost what it acknowledged. Consumers know what they have seen by its id.
        What the outbox no longer holds cannot be sent again.

        Args:
            topics: Only events to these, at most ``RESEND_EVENTS_MAX``; without any, all events.

        Raises:
            NotFound: No event has this position.
            LimitExceeded: More events of these topics were published since then.
        """
        at = (await self.event(str(since))).at if isinstance(since, int) else since.timestamp()
        cursor = await self._store.outbox_since(at)
        count, chosen = 0, list[OutboxEvent]()
        for share in range(SHARES):
            after = cursor
            while (page := await self._store.outbox(share, after=after)).rows:
                wanted = [row for row in page.events if not topics or row.topic in topics]
                count, after = count + len(wanted), page.cursor
                if topics:
                    chosen += wanted
                    _check_resent(count)
        if count:
            deed = await self._parking(chosen) if topics else _rewinding(dict.fromkeys(range(SHARES), cursor))
            await self._say(ResendAsked(at, tuple(topics), because, by), deed)
        return count

    async def _parking(self, rows: list[OutboxEvent]) -> Deed:
        """Return what parks events as if they waited behind others.

        The relay brings them first, each key in order.
        """
        environment = self._context.environment
        source, now = await source_of(self._store, environment), environment.now()
        # Whoever has a share looks anew at what is parked.
        rewind = _rewinding({row.share: row.cursor for row in await self._store.progress(RELAY)})

        def park(tx: LocalTransaction) -> bool:
            for row in rows:
                tx.park(parked_of(_envelope(row, source), RELAY, "", now))
            return rewind(tx)

        return park

    async def retry(self, place: int, *, because: str, by: str = "operator") -> bool:
        """Publish a parked event again; False when it is not parked (any more)."""
        now = self._context.environment.now()

        def retry(tx: LocalTransaction, found: Parked) -> None:
            tx.repark(place, because=found.because, attempts=found.attempts, retry_at=now)

        return await self._on_parked(place, lambda id: RetryAsked(id, because, by), retry)

    async def discard(self, place: int, *, because: str, by: str = "operator") -> bool:
        """Give a parked event up; what waits behind it goes on. False when it is not parked (any more)."""
        return await self._on_parked(
            place, lambda id: Discarded(id, because, by), lambda tx, found: tx.unpark(place)
        )

    async def _on_parked(
        self, place: int, word: Callable[[str], Word], act: Callable[[LocalTransaction, Parked], None]
    ) -> bool:
        rows = await self._store.parked_events(reader=RELAY, after=place - 1, limit=1)
        if not rows or rows[0].place != place:
            return False

        def deed(tx: LocalTransaction) -> bool:
            found = tx.parked_at(place)
            if found is None or found.reader != RELAY:
                return False
            act(tx, found)
            return True

        return await self._say(word(rows[0].id), deed)

    async def _say(self, word: Word, deed: Deed) -> bool:
        return await say(self._context.home, self._store, self._stream, word, deed)


class SyncOutbox:
    """``Outbox`` without ``await``."""

    def __init__(self, outbox: Outbox, wait: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._outbox = outbox
        self._wait = wait

    def events(
        self, *, topic: str | None = None, before: int | None = None, limit: int = 100
    ) -> list[OutboxEvent]:
        """Return what is in the outbox, newest first; relayed or not."""
        found: list[OutboxEvent] = self._wait(self._outbox.events(topic=topic, before=before, limit=limit))
        return found

    def event(self, id: str) -> OutboxEvent:
        """Return an event by its id or its position."""
        found: OutboxEvent = self._wait(self._outbox.event(id))
        return found

    def shares(self) -> list[Share]:
        """Return how far the outbox is relayed, by share."""
        found: list[Share] = self._wait(self._outbox.shares())
        return found

    def parked(self, *, topic: str | None = None, limit: int = PARKED_MAX) -> list[Parked]:
        """Return what the broker has rejected, and what waits behind it, in order."""
        found: list[Parked] = self._wait(self._outbox.parked(topic=topic, limit=limit))
        return found

    def resend(
        self,
        since: datetime | int,
        *,
        topics: Collection[str] = (),
        because: str,
        by: str = "operator",
    ) -> int:
        """Relay again what was published since a time or a position. See ``Outbox.resend``."""
        return int(self._wait(self._outbox.resend(since, topics=topics, because=because, by=by)))

    def retry(self, place: int, *, because: str, by: str = "operator") -> bool:
        """Publish a parked event again; False when it is not parked (any more)."""
        return bool(self._wait(self._outbox.retry(place, because=because, by=by)))

    def discard(self, place: int, *, because: str, by: str = "operator") -> bool:
        """Give a parked event up; what waits behind it goes on."""
        return bool(self._wait(self._outbox.discard(place, because=because, by=by)))


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _envelope(row: OutboxEvent, source: str) -> Envelope:
    try:
        return envelope_of_row(row, source)
    except BadRow as bad:
        return bad.envelope


def _rewinding(cursors: Mapping[int, Cursor]) -> Deed:
    def rewind(tx: LocalTransaction) -> bool:
        for share, cursor in cursors.items():
            tx.rewind(RELAY, share, cursor)
        return True

    return rewind


def _check_resent(count: int) -> None:
    if count > RESEND_EVENTS_MAX:
        raise LimitExceeded(
            f"nothing is sent again: more than {RESEND_EVENTS_MAX:,} events of these topics were published "
            "since then; begin later, or send all topics again, which has no limit"
        )
