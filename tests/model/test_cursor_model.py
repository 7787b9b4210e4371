"""Followers of a journal whose positions are given before the commit: every order of a few transactions.

Goal: the cursor of the PostgreSQL home gives each event once, those of a stream in order, and is held
up by nobody. Method: walk every interleaving of transactions (begin, insert, commit, stay in doubt)
with pages of a reader, on a model of PostgreSQL's snapshots; cursors that are known to be wrong fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from finality.adapters.postgres.cursor import Place, place_of
from finality.core.ids import START, Cursor

LIMIT = 1  # The smallest page, so that a difference is read in several.


@dataclass(frozen=True)
class Event:
    position: int
    xid: int
    stream: str


@dataclass(frozen=True)
class Database:
    """What is inserted, by which transactions, and which of those have committed.

    Attributes:
        todo: The streams that each transaction has yet to insert into.
        begun: Their numbers, given at the first insert, in the order of begin.
    """

    todo: tuple[tuple[str, ...], ...]
    begun: tuple[tuple[int, int], ...] = ()
    committed: frozenset[int] = frozenset()
    events: tuple[Event, ...] = ()

    def snapshot(self) -> str:
        """Return pg_current_snapshot(): xmin:xmax:those in between that are not committed."""
        xmax = len(self.begun) + 1
        open_ = [xid for _, xid in self.begun if xid not in self.committed]
        return f"{min(open_, default=xmax)}:{xmax}:{','.join(map(str, sorted(open_)))}"

    def shown(self, snapshot: str) -> list[Event]:
        return [event for event in self.events if is_visible(event.xid, snapshot)]

    def moves(self, doubtful: int) -> Iterator[Database]:
        """Yield what any transaction may do next; the *doubtful* one never commits."""
        xids = dict(self.begun)
        for number, streams in enumerate(self.todo):
            if not streams:
                if number != doubtful and xids[number] not in self.committed:
                    yield replace(self, committed=self.committed | {xids[number]})
                continue
            if any(self._holds(other, streams[0], xids) for other in xids if other != number):
                continue  # The stream's row is locked until the other commits.
            begun = self.begun if number in xids else (*self.begun, (number, len(xids) + 1))
            event = Event(len(self.events) + 1, dict(begun)[number], streams[0])
            todo = (*self.todo[:number], streams[1:], *self.todo[number + 1 :])
            yield replace(self, todo=todo, begun=begun, events=(*self.events, event))

    def _holds(self, number: int, stream: str, xids: dict[int, int]) -> bool:
        xid = xids[number]
        wrote = any(event.xid == xid and event.stream == stream for event in self.events)
        return wrote and xid not in self.committed


def is_visible(xid: int, snapshot: str) -> bool:
    """Do what pg_visible_in_snapshot() does."""
    _, xmax, running = snapshot.split(":")
    return xid < int(xmax) and str(xid) not in running.split(",")


Page = Callable[[Database, Cursor], tuple[list[Event], Cursor]]


def by_snapshots(database: Database, after: Cursor) -> tuple[list[Event], Cursor]:
    """Page as ``PostgresHome.page`` does."""
    place = place_of(after, "1")
    if not place.shown:
        place = replace(place, shown=database.snapshot())
    new = [
        event
        for event in database.shown(place.shown)
        if event.position > place.position and not (place.seen and is_visible(event.xid, place.seen))
    ][:LIMIT]
    if len(new) == LIMIT:
        return new, Cursor(str(replace(place, position=new[-1].position)))
    return new, Cursor(str(Place("1", seen=place.shown)))


def by_position(database: Database, after: Cursor) -> tuple[list[Event], Cursor]:
    """The first planted mistake: whatever commits late is behind the last position."""
    last = int(after or 0)
    new = [event for event in database.shown(database.snapshot()) if event.position > last][:LIMIT]
    return new, Cursor(str(new[-1].position)) if new else after


def by_oldest(database: Database, after: Cursor) -> tuple[list[Event], Cursor]:
    """The second one: only what is older than every open transaction, in the order of numbers."""
    xid, position = map(int, (after or "0/0").split("/"))
    oldest = int(database.snapshot().split(":")[0])
    new = sorted(
        (event for event in database.shown(database.snapshot()) if event.xid < oldest),
        key=lambda event: (event.xid, event.position),
    )
    new = [event for event in new if (event.xid, event.position) > (xid, position)][:LIMIT]
    return new, Cursor(f"{new[-1].xid}/{new[-1].position}") if new else after


def problems(page: Page, todo: tuple[tuple[str, ...], ...], doubtful: int) -> set[str]:
    """Walk every interleaving; return in which ways a follower went wrong."""
    found: set[str] = set()
    start: tuple[Database, Cursor, tuple[Event, ...]] = (Database(todo), START, ())
    seen, waiting = {start}, [start]
    while waiting:
        database, cursor, heard = waiting.pop()
        new, after = page(database, cursor)
        steps = [(database, after, (*heard, *new))]
        steps += [(moved, cursor, heard) for moved in database.moves(doubtful)]
        if len(steps) == 1 and not new and after == cursor:  # Nothing more will happen.
            found |= wrong(database, list(heard))
        for step in steps:
            if step not in seen:
                seen.add(step)
                waiting.append(step)
    assert len(seen) > 30, "there was hardly anything to walk"
    return found


def wrong(database: Database, heard: list[Event]) -> set[str]:
    """Return what is wrong with all that a follower has heard once nothing more happens."""
    committed = [event for event in database.events if event.xid in database.committed]
    found = {"lost or late"} if set(committed) - set(heard) else set()
    if len(set(heard)) != len(heard) or set(heard) - set(committed):
        found.add("doubled or invented")
    for stream in {event.stream for event in heard}:
        positions = [event.position for event in heard if event.stream == stream]
        if positions != sorted(positions):
            found.add("out of order")
    return found


WORKLOADS = [
    (("a",), ("a",), ("b",)),
    (("a", "b"), ("b",), ("a",)),
    (("a", "c"), ("b", "a"), ("c",)),
]


@pytest.mark.parametrize("doubtful", [None, 0, 1, 2])
@pytest.mark.parametrize("todo", WORKLOADS, ids=str)
def test_a_cursor_of_snapshots_is_right_in_every_order(
    todo: tuple[tuple[str, ...], ...], doubtful: int
) -> None:
    assert problems(by_snapshots, todo, -1 if doubtful is None else doubtful) == set()


def test_a_position_as_cursor_loses_late_committers() -> None:
    assert "lost or late" in problems(by_position, WORKLOADS[0], -1)


def test_waiting_for_the_oldest_transaction_stalls_behind_one_in_doubt() -> None:
    assert "lost or late" in problems(by_oldest, WORKLOADS[0], 2)


def test_the_order_of_transactions_is_not_that_of_a_stream() -> None:
    assert "out of order" in problems(by_oldest, WORKLOADS[1], -1)
