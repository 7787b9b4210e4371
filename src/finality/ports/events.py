"""What a store keeps for events: the outbox, how far each reader has come, and what is parked.

```
   publish ──▶ outbox ──page of a share──▶ relay ──▶ broker ──▶ reaction ──▶ witness (the inbox)
      └ due_at ─▶ delayed ─┘                 │                     └─ fails ─▶ parked, per key
                                             └─ advance: how far, in the commit of the effect
```

A reader's work is cut into shares. Whoever holds a share's lease reads it; the *epoch* fences off who
held it before. As with transactions, the fence is for safety and the lease is for efficiency.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from finality.core.ids import Cursor, NodeId

SHARES = 4  # Of an outbox: so many nodes can relay it at once. It is written beside each row.
REACTION = "reaction"  # The operation of a witness by which an inbox knows an event again.
OUTBOX_EVENTS_MAX = 500  # A page: about a megabyte of usual events.
PARKED_MAX = 1_000  # A page.


class Published(NamedTuple):
    """An event as it is put into the outbox.

    Attributes:
        headers: What CloudEvents knows of it beyond the columns, as a JSON object of strings.
    """

    topic: str
    key: str
    type: str
    data: bytes
    headers: str = "{}"


OutboxRow = tuple[int, str, str, str, str, bytes, str, float]


class OutboxEvent(NamedTuple):
    """A row of the outbox, with the names of its columns."""

    position: int
    id: str
    topic: str
    key: str
    type: str
    data: bytes
    headers: str
    at: float


@dataclass(frozen=True, slots=True)
class OutboxPage:
    """Some events of one share, oldest first, and where the next page begins.

    Attributes:
        rows: Plain, for whoever reads thousands: names cost more to make than the rows to read.
    """

    rows: Sequence[OutboxRow]
    cursor: Cursor

    @property
    def events(self) -> list[OutboxEvent]:
        """Return the rows with names."""
        return [OutboxEvent(*row) for row in self.rows]


class Progress(NamedTuple):
    """How far a reader has come in one share, and who reads it.

    Attributes:
        epoch: Grows with every new holder; what an earlier one writes is ``Fenced``.
        node: Who holds the lease; None: nobody does.
        updated_at: When the cursor advanced last.
    """

    reader: str
    share: int
    epoch: int
    cursor: Cursor
    node: NodeId | None
    lease_until: float
    updated_at: float


class Parked(NamedTuple):
    """An event that was put aside, or waits behind one of its key that was.

    Attributes:
        place: Its number; of one key they go on in this order.
        reader: Who put it aside: ``relay``, or a consumer.
        id: The event's own.
        attributes: All that CloudEvents knows of it, as a JSON object of strings.
        because: Why; empty: only because another one of its key is.
        retry_at: When it is tried again by itself; None: when a person says so.
    """

    place: int
    reader: str
    topic: str
    key: str
    id: str
    attributes: str
    data: bytes
    because: str
    attempts: int
    parked_at: float
    retry_at: float | None


class EventTransaction(Protocol):
    """What a turn can do with events; part of ``ports.store.LocalTransaction``."""

    def publish(self, event: Published, *, due_at: float | None = None) -> None:
        """Put an event into the outbox, in this very commit.

        Args:
            due_at: Keep it until then; ``release_due`` puts it into the outbox.
        """
        ...

    def release_due(self, limit: int) -> int:
        """Put delayed events whose time has come into the outbox, earliest first; return how many."""
        ...

    def prune_outbox(self, share: int, *, before: float, behind: Cursor, limit: int) -> int:
        """Forget events that were published before a time and that *behind* has passed; return how many.

        It looks at the oldest *limit* of these, and no further: at most so many are looked at in one turn,
        however many are kept.
        """
        ...

    def claim(self, reader: str, share: int, *, node: NodeId, until: float) -> Progress | None:
        """Take or renew the lease of a share; None while another node holds it."""
        ...

    def progress_of(self, reader: str, share: int) -> Progress | None:
        """Return how far a share is; nobody advances it before this transaction ends."""
        ...

    def advance(self, progress: Progress, cursor: Cursor) -> None:
        """Move a share's cursor, in the very commit of what was done with the events before it.

        Raises:
            Fenced: The share has had another holder since *progress*, or was rewound.
        """
        ...

    def give_back(self, progress: Progress) -> None:
        """End the lease of a share, if it is still held: another node may take it at once."""
        ...

    def rewind(self, reader: str, share: int, cursor: Cursor) -> None:
        """Set a share's cursor, whoever reads it: the holder is fenced off and begins there anew."""
        ...

    def park(self, parked: Parked) -> None:
        """Put an event aside, behind those of its key; ``place`` is given here."""
        ...

    def parked(self, reader: str, topic: str, key: str, *, limit: int = 1) -> list[Parked]:
        """Return the first parked events of a key; none: the key is free."""
        ...

    def parked_at(self, place: int) -> Parked | None:
        """Return a parked event by its place."""
        ...

    def repark(self, place: int, *, because: str, attempts: int, retry_at: float | None) -> None:
        """Say anew why an event is parked and when it is tried again."""
        ...

    def unpark(self, place: int) -> None:
        """Take an event out: it has taken effect, or is given up."""
        ...

    def forget_witnesses(self, operation: str, *, before: float, limit: int) -> int:
        """Forget testimonies of an operation that are older than a time; return how many."""
        ...


class EventReads(Protocol):
    """What is asked of a store outside of a turn; part of ``ports.store.Store``."""

    async def outbox(self, share: int, *, after: Cursor, limit: int = OUTBOX_EVENTS_MAX) -> OutboxPage:
        """Return the events of a share behind *after*; none if there is nothing new.

        Whoever goes on with each page's cursor gets every event once. One that commits late is
        never skipped, and holds up nobody; within a key they come in the order of their commits.
        """
        ...

    async def outbox_since(self, at: float) -> Cursor:
        """Return a cursor behind which are all events that were published then or later."""
        ...

    async def progress(self, reader: str | None = None) -> list[Progress]:
        """Return how far a reader, or every one, has come in each of its shares."""
        ...

    async def parked_events(
        self,
        *,
        reader: str | None = None,
        topic: str | None = None,
        after: int = 0,
        limit: int = PARKED_MAX,
    ) -> list[Parked]:
        """Return parked events by place, behind one."""
        ...

    async def next_release(self) -> float | None:
        """Return when the next delayed event is due; None: none is delayed."""
        ...

    async def next_retry(self, reader: str) -> float | None:
        """Return when the next parked event of a reader is tried again; None: none will be by itself."""
        ...
