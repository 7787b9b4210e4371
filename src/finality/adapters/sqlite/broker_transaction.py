"""What a turn can do in a broker's file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from finality.adapters.named_statements import named_statements
from finality.adapters.progress import Progress
from finality.adapters.sqlite.hand import Kept, progress_of
from finality.adapters.sqlite.page import Page, packed, unpacked
from finality.adapters.sqlite.transaction import SqliteTransaction
from finality.core.envelope import Envelope

SQL = named_statements(__package__, "broker.sql")

PAGES_KNOWN = 500  # Whose ids are remembered: what is published again was published of late.


class Topic(NamedTuple):
    """A topic as it is kept."""

    key: int
    partitions: int


class Held(NamedTuple):
    """A partition that a subscription holds for its group.

    Attributes:
        key: The short name of the group's progress there.
        progress: How far it was when the subscription began.
    """

    partition: int
    key: int
    holder: int
    progress: Progress


class BrokerTransaction(SqliteTransaction):
    """The turns of a broker, on the connection that writes."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._ids: dict[int, frozenset[str]] = {}  # Of pages, by their last position.

    def declare(self, name: str, partitions: int) -> Topic:
        """Return the topic, made if it was not there."""
        self._guard()
        self._sql(SQL["declare"], (name, partitions))
        [row] = self._sql(SQL["topic"], (name,)).fetchall()
        return Topic(*row)

    # ── Publishing ──────────────────────────────────────────────────────────────────────────

    def store(self, pages: Sequence[Page]) -> None:
        """Keep pages, without the events that were stored before."""
        self._guard()
        [(end,)] = self._sql(SQL["end"]).fetchall()
        for page in pages:
            known = self._known(page)
            new = self._without(page, known) if known else page
            if new is None:
                continue
            first, end = end + 1, end + new.events
            place = (end, first, new.topic, new.partition)
            self._sql(SQL["store"], (*place, new.oldest, new.newest, new.attributes, new.data, self.at))
            self._remember(end, new.ids)

    def _known(self, page: Page) -> list[Envelope]:
        """Return the events of pages that may have one of this page."""
        times = (page.topic, page.partition, page.oldest, page.newest)
        found: list[Envelope] = []
        for (last,) in self._sql(SQL["of_time"], times).fetchall():
            ids = self._ids.get(last)
            if ids is None or not ids.isdisjoint(page.ids):
                [(attributes, data)] = self._sql(SQL["page"], (last,)).fetchall()
                events = unpacked(attributes, data, "")
                found += events
                self._remember(last, frozenset([event.id for event in events]))
        return found

    def _without(self, page: Page, known: Sequence[Envelope]) -> Page | None:
        """Return *page* without the events that are known; None: all are."""
        names = {(event.id, event.source) for event in known}
        events = unpacked(page.attributes, page.data, "")
        new = [event for event in events if (event.id, event.source) not in names]
        return packed(page.topic, page.partition, new) if new else None

    def _remember(self, last: int, ids: frozenset[str]) -> None:
        self._ids[last] = ids
        if len(self._ids) > PAGES_KNOWN:
            del self._ids[next(iter(self._ids))]

    def undo_turn(self) -> bool:
        """Undo what the turn wrote; False when that takes aborting the whole transaction."""
        self._ids.clear()
        return super().undo_turn()

    def lose_all(self) -> None:
        """Hear that the whole transaction was aborted."""
        self._ids.clear()

    # ── Groups ──────────────────────────────────────────────────────────────────────────────

    def hold(self, topic: Topic, group: str, partitions: Sequence[int]) -> list[Held]:
        """Give partitions to a new subscription of the group; nobody else is given anything of them."""
        self._guard()
        self._connection.executemany(SQL["join"], [(topic.key, group, n) for n in range(topic.partitions)])
        held = []
        for partition in partitions:
            [(key, holder, read_to, hand)] = self._sql(SQL["hold"], (topic.key, group, partition)).fetchall()
            held.append(Held(partition, key, holder, progress_of(read_to, hand)))
        return held

    def keep(self, progress: Sequence[Kept]) -> set[int]:
        """Keep how far a group is; return the keys of what somebody else holds by now."""
        self._guard()
        return {each.progress for each in progress if not self._sql(SQL["keep"], each).fetchall()}

    def prune(self, before: float, limit: int) -> int:
        """Forget what everybody is done with and was stored before; return how many pages that were."""
        self._guard()
        pruned = 0
        for topic, partition, floor in self._sql(SQL["floors"], (before,)).fetchall():
            self._sql(SQL["prune"], (topic, partition, floor, limit - pruned, before))
            pruned += self._connection.changes()
        return pruned
