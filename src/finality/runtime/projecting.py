"""Carries events into a projection's tables: many a commit, with the cursor in that very commit.

```
   facts ──page──▶ events ──▶ function, function, … · advance ──one commit──▶ next page
                                 │ fails
                     those before it are committed ──▶ it alone, again and again, and nothing behind it
```
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from finality.core.errors import Conflict, Fenced, OutcomeUnknown, Stuck, Unavailable
from finality.core.protocol import Recorded
from finality.core.sourcing import Meta, id_of
from finality.ports.environment import PROJECTION_AFTER, PROJECTION_BEFORE
from finality.ports.events import Progress
from finality.ports.journal import Page
from finality.ports.store import LocalTransaction, Scope, Store
from finality.runtime.asked import Asked
from finality.runtime.context import Context
from finality.runtime.definition import Style
from finality.runtime.projection import Happened, ProjectionCode, Standing, standing_of
from finality.runtime.restraint import projecting
from finality.runtime.sourcing import personal
from finality.runtime.sourcing.ahead import Ahead
from finality.runtime.sourcing.reading import KnownEvents
from finality.runtime.tracing import span_of_projection

EVENTS_MAX = 1_000  # In one commit: some thirty milliseconds of the store's write turn.
ASYNC_EVENTS_MAX = 100  # Each statement of an async function crosses threads, while the turn is held.
NOT_ITS_OWN = (Conflict, Fenced, OutcomeUnknown, Unavailable)
"""What a function raises that is not to blame for it."""

Call = tuple[int, tuple[Any, ...]]
"""The place of an event on its page, and what the function is called with for it, behind ``tx``."""

Taken = tuple[int, Any, Recorded]
"""The place of an event on its page, the event, and how the journal keeps it."""


@dataclass(frozen=True, slots=True)
class ProjectionKit:
    """What projections need of the layers above.

    Attributes:
        named: Makes what knows the names that a projection's tables have now.
        turn_tx: Makes the ``tx`` of a plain function with that.
        scope_tx: Makes the ``tx`` of an ``async`` one likewise.
    """

    context: Context
    named: Callable[[ProjectionCode, dict[str, str]], Any]
    turn_tx: Callable[[LocalTransaction, Any], Any]
    scope_tx: Callable[[Scope, Any], Any]


class Unreadable(Exception):
    """An event on a page cannot be read; ``__cause__`` says why."""


class AdvanceTurn(Asked[None]):
    """Moves a projection on, alone or at the end of a scope."""

    def __init__(self, name: str, progress: Progress, standing: Standing, work: Any = None) -> None:
        super().__init__(f"projection {name}", None)
        self._progress, self._standing, self._work = progress, standing, work

    def run(self, tx: LocalTransaction) -> None:
        """Do the work, if there is some, and advance."""
        if self._work is not None:
            self._work(tx)
        tx.advance(self._progress, self._standing.text)


class Projecting:
    """One generation of a projection's tables, as long as this node has its lease.

    Attributes:
        standing: What is durable.
        failed_at: Which event of the page has failed; None: none has.
    """

    def __init__(
        self, kit: ProjectionKit, code: ProjectionCode, progress: Progress, names: dict[str, str]
    ) -> None:
        self.standing = standing_of(progress.cursor)
        self.failed_at: int | None = None
        self._kit, self._code, self._progress, self._names = kit, code, progress, kit.named(code, names)
        self._known = KnownEvents(code.types, kit.context.codec)
        self._pages = Ahead(kit.context.home.sources)
        self._max = EVENTS_MAX if code.style is Style.TURN else ASYNC_EVENTS_MAX
        self._limit = self._max
        self._cursor = self.standing.cursor  # Ahead of what is durable only by events of ours.
        self._is_within = True  # The durable cursor is within a snapshot, which nobody else could tell.

    @property
    def store(self) -> Store:
        """Return where the tables are."""
        return self._kit.context.store_of(self._code.store)

    async def advance(self) -> bool:
        """Carry a page of events over; say whether there may be another.

        Raises:
            Stuck: The next event cannot be carried over; nothing behind it is, either.
        """
        page = await self._pages.behind(self._cursor, self._limit)
        if not page.events:
            self._cursor, was_within = page.cursor, self._is_within
            if was_within:
                await self.keep(replace(self.standing, cursor=page.cursor))
                self._is_within = False
            return was_within  # The snapshot may be older than the last kick: one more look.
        last = page.events[-1]
        standing = replace(
            self.standing, cursor=page.cursor, events=self.standing.events + len(page.events),
            position=last.position, at=last.at, because="",
        )  # fmt: skip
        self.failed_at = None
        try:
            await self._carry(page, standing)
        except Exception as error:
            await self._failed(page, error)
            return True
        self.standing, self._cursor = standing, page.cursor
        self._is_within = len(page.events) == self._limit
        self._limit = min(self._limit * 2, self._max)
        return True

    async def close(self) -> None:
        """Let go of what was read ahead; what is not durable was not done."""
        await self._pages.close()

    async def keep(self, standing: Standing, work: Callable[[LocalTransaction], None] | None = None) -> None:
        """Make *standing* durable, with what *work* writes.

        Raises:
            Fenced: Another node has the projection. OutcomeUnknown: It may be durable.
        """
        turn = AdvanceTurn(self._code.name, self._progress, standing, work)
        self.store.submit(turn)
        await turn.done
        self.standing = standing

    async def _carry(self, page: Page, standing: Standing) -> None:
        context = self._kit.context
        with await personal.of(context.codec, context.home.sources, None, page.events):
            events = self._events(page)
        calls, parents = self._calls(events), self._parents(events)
        if self._code.style is Style.TURN:
            turn = AdvanceTurn(
                self._code.name, self._progress, standing, lambda tx: self._run(tx, calls, parents)
            )
            self.store.submit(turn)
            await turn.done
        elif not calls:
            await self.keep(standing)
        else:
            await self._run_scope(calls, parents, standing)

    def _run(self, tx: LocalTransaction, calls: list[Call], parents: list[str]) -> None:
        kit, code, reach = self._kit, self._code, self._kit.context.environment.reach
        if not calls:
            return
        reach(PROJECTION_BEFORE)
        view, function = kit.turn_tx(tx, self._names), code.function
        with span_of_projection(kit.context, code.name, parents), projecting(code.name):
            for place, arguments in calls:
                self.failed_at = place
                function(view, *arguments)
        self.failed_at = None
        reach(PROJECTION_AFTER)

    async def _run_scope(self, calls: list[Call], parents: list[str], standing: Standing) -> None:
        kit, code, reach = self._kit, self._code, self._kit.context.environment.reach
        scope = self.store.scope(f"projection {code.name}")
        try:
            reach(PROJECTION_BEFORE)
            view = kit.scope_tx(scope, self._names)
            with span_of_projection(kit.context, code.name, parents), projecting(code.name):
                for place, arguments in calls:
                    self.failed_at = place
                    await code.function(view, *arguments)
            self.failed_at = None
            reach(PROJECTION_AFTER)
            await scope.commit(AdvanceTurn(code.name, self._progress, standing))
        except BaseException:
            await asyncio.shield(scope.abort())
            raise

    async def _failed(self, page: Page, error: Exception) -> None:
        """Have what is before the event that failed carried over first; then say what is wrong with it.

        Raises:
            Stuck: It is the very next one.
        """
        if self.failed_at is None or isinstance(error, NOT_ITS_OWN):
            raise error
        if self._code.is_batch and len(page.events) > 1 and not isinstance(error, Unreadable):
            self._limit = 1  # Which of them it was is seen when each is alone.
            return
        if self.failed_at > 0:
            self._limit = self.failed_at
            return
        cause = error.__cause__ if isinstance(error, Unreadable) else error
        because = f"{_told(page.events[0])}: {_reason(cause or error)}"
        if because != self.standing.because:
            await self.keep(replace(self.standing, because=because))
        raise Stuck(
            f"projection {self._code.name} is stuck at {because}; it skips nothing, so put its function "
            "right and deploy it: it goes on there",
            transaction_id=page.events[0].stream,
        ) from error

    def _events(self, page: Page) -> list[Taken]:
        events, taken, place = list[Taken](), self._known.taken, 0
        try:
            for place, recorded in enumerate(page.events):
                if (event := taken(recorded)) is not None:
                    events.append((place, event, recorded))
        except Stuck as error:
            self.failed_at = place
            raise Unreadable from error
        return events

    def _calls(self, events: list[Taken]) -> list[Call]:
        code, codec, context = self._code, self._kit.context.codec, self._code.takes_context
        if not code.is_batch:
            if not context:
                return [(place, (event,)) for place, event, _ in events]
            return [(place, (event, happened(each, codec))) for place, event, each in events]
        listed = [event for _, event, _ in events]
        also = ([happened(each, codec) for _, _, each in events],) if context else ()
        return [(events[0][0], (listed, *also))] if events else []

    def _parents(self, events: list[Taken]) -> list[str]:
        """Return the spans that appended the events of a page, each once; none if nobody is told."""
        if not self._kit.context.tracing.is_on:
            return []
        metas = [meta_of(each, self._kit.context.codec) for _, _, each in events]
        return list(dict.fromkeys(meta.traceparent for meta in metas if meta.traceparent))


def meta_of(recorded: Recorded, codec: Any) -> Meta:
    """Return what is known of an event besides."""
    meta: Meta = codec.decode(recorded.event.meta, Meta) if recorded.event.meta is not None else Meta()
    return meta


def happened(recorded: Recorded, codec: Any) -> Happened:
    """Return where and when an event happened."""
    meta = meta_of(recorded, codec)
    return Happened(
        id_of(recorded.stream), recorded.version, recorded.position, recorded.at,
        meta.by, meta.correlation_id, meta.causation_id, meta.more,
    )  # fmt: skip


def _told(recorded: Recorded) -> str:
    return f"event {recorded.version} of {recorded.stream}, a {recorded.event.type}"


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else repr(error)
