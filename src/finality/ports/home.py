"""The home store: where a node keeps the journal, and what it needs to find its work again.

Beside each transaction's stream stands one row, its *head*: kind, status, who drives it and
when it wakes. It is renewed with the append that changes what it says, so that lists and timers
never fold a stream; where the stream is, and since when, its last event says.

What a home is asked outside of a turn may have to be fetched over a network, so it is ``async``:
whoever awaits it has to look anew at what may have changed meanwhile. Within a turn nothing waits.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from finality.core.ids import NodeId, StreamName, TransactionId, Version
from finality.core.protocol import Recorded
from finality.core.saga import Summary
from finality.core.value import value
from finality.ports.journal import Journal
from finality.ports.sources import CommittedSources, Sources
from finality.ports.store import LocalTransaction, Store

HEADS_MAX = 1_000  # One page of heads; longer lists continue behind the last one.

History: TypeAlias = list[Any] | Exception
"""A transaction's events, oldest first, or why they cannot be read."""


@value
class Head:
    """A transaction at a glance.

    Attributes:
        key: The store's own short name of the stream.
        kind: The saga's name.
        definition: The version of its definition.
        wake_at: When it has something to do; None when it has it now, or has ended.
        version: Where the stream is: that of its last event.
        driver: The node that drives it; None while nobody does.
        updated_at: When its last event was recorded.
        parent: The key of the transaction whose step it is.
        note: Why no node can drive it, if so.
    """

    key: int
    id: TransactionId
    kind: str
    definition: str
    version: Version
    status: str
    has_ended: bool
    wake_at: float | None
    driver: NodeId | None
    started_at: float
    updated_at: float
    parent: int | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node as the others see it.

    Attributes:
        drives: The ``kind@version`` definitions that it can drive.
        lease_until: When the others may take its transactions over; 0 once it has left.
    """

    id: NodeId
    host: str
    process: int
    drives: frozenset[str]
    joined_at: float
    lease_until: float


@value
class Birth:
    """What a new transaction's head starts with."""

    id: TransactionId
    kind: str
    definition: str
    parent: int | None = None
    driver: NodeId | None = None


class HomeTransaction(LocalTransaction, Protocol):
    """What a turn can do in the home store."""

    @property
    def sources(self) -> Sources:
        """Return what event sourcing can do in it."""
        ...

    @property
    def node(self) -> NodeId | None:
        """Return the node that writes, once it has joined: ``renew`` was called here; None before."""
        ...

    def create(self, birth: Birth, events: Sequence[Any], summary: Summary) -> int | None:
        """Begin a transaction's stream; return its key, or None if the id is taken."""
        ...

    def append(
        self, key: int, events: Sequence[Any], *, expected: Version, summary: Summary | None = None
    ) -> None:
        """Append to a transaction's stream, and renew its head.

        Two appends at one version exclude each other, whoever makes them: that is the fence.

        Args:
            summary: What the head says from now on; None leaves it as it is, woken or not, and so
                costs less.

        Raises:
            VersionConflict: The stream is not at *expected*; nothing was written.
            LimitExceeded: An event is too large; nothing was written.
        """
        ...

    def append_to(self, stream: StreamName, events: Sequence[Any], *, expected: Version) -> Version:
        """Append to a stream that is no transaction, all or none."""
        ...

    def head(self, key: int) -> Head:
        """Return the head as this very transaction sees it."""
        ...

    def read(self, key: int, *, after: Version = Version(0)) -> list[Recorded]:
        """Return the events of a transaction behind *after*, as this very transaction sees them."""
        ...

    def wake(self, key: int) -> None:
        """See to it that whoever drives the transaction looks at it soon."""
        ...

    def migrate(self, key: int, kind: str, definition: str) -> None:
        """Put the transaction under another version of its definition, kept by ``define``."""
        ...

    def note(self, key: int, note: str | None) -> None:
        """Say at the head why no node can drive the transaction; None takes it back."""
        ...

    def release(self, key: int, note: str) -> None:
        """Let go of an open transaction that its node cannot drive, and say why at its head."""
        ...

    def set_wake(self, key: int, wake_at: float | None) -> None:
        """Renew the time at which the transaction wakes; None takes it in hand."""
        ...

    def lock(self, key: int, resource: str) -> int | None:
        """Take a semantic lock for the transaction; return the key of the holder if it is taken."""
        ...

    def lock_holder(self, resource: str) -> tuple[int, float] | None:
        """Return the key of the transaction that holds a semantic lock, and since when; None: it is free."""
        ...

    def unlock_all(self, key: int) -> None:
        """Release every semantic lock of the transaction."""
        ...

    def define(self, kind: str, definition: str, graph: str) -> None:
        """Keep the shape of a definition, so that any node can fold and explain its sagas."""
        ...

    def renew(self, node: NodeRow) -> None:
        """Enter the node or renew its lease."""
        ...

    def leave(self, node: NodeId) -> None:
        """End the node's lease and let go of its transactions."""
        ...

    def let_go(self, node: NodeId, *, keep: Collection[int] = ()) -> None:
        """Let go of the node's open transactions, but for those to *keep*: others take them at once."""
        ...

    def claim_due(self, node: NodeId, now: float, *, limit: int) -> list[tuple[int, str]]:
        """Take the node's transactions whose time has come in hand: return (key, kind) of each."""
        ...

    def take_over(
        self,
        node: NodeId,
        drives: frozenset[str],
        *,
        accepts: frozenset[str] = frozenset(),
        expired_before: float,
        limit: int,
    ) -> int:
        """Give *node* transactions that nobody alive drives; return how many, 0 when none is left.

        Each gets a ``TakenOver`` event: its new version fences the old node off.

        Args:
            drives: The ``kind@version`` definitions that the node knows.
            accepts: Those that it can migrate; what was left alone, with a note, is not among them.
        """
        ...


class Home(Store, Journal, Protocol):
    """A store that also keeps the journal."""

    @property
    def sources(self) -> CommittedSources:
        """Return what event sourcing reads of it."""
        ...

    async def head(self, key: int) -> Head:
        """Return a transaction's head by key.

        Raises:
            NotFound: No transaction has it.
        """
        ...

    async def heads_of(self, keys: Collection[int]) -> list[Head]:
        """Return the heads of those of *keys* that a transaction has, in one look."""
        ...

    async def find(self, id: TransactionId) -> Head | None:
        """Return a transaction's head by its id."""
        ...

    async def begun(self, ids: Collection[TransactionId]) -> set[TransactionId]:
        """Return those of *ids* that have a stream, in one look."""
        ...

    async def load(self, key: int, *, after: Version = Version(0)) -> list[Recorded]:
        """Return a transaction's events behind *after*, by key."""
        ...

    async def histories(self, keys: Collection[int]) -> dict[int, History]:
        """Return all events of each of these transactions by its key, in one look.

        One that cannot be read keeps nobody from the others.
        """
        ...

    async def next_wake(self, node: NodeId) -> float | None:
        """Return when the node's next transaction wakes; None if none sleeps."""
        ...

    async def heads(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        is_open: bool | None = None,
        before: int | None = None,
        limit: int = HEADS_MAX,
    ) -> list[Head]:
        """Return heads, newest first, continuing *before* a key."""
        ...

    async def children(self, key: int) -> list[Head]:
        """Return the heads of the transactions that are steps of this one."""
        ...

    async def counts(self) -> dict[tuple[str, str], int]:
        """Return how many transactions there are by (kind, status)."""
        ...

    async def definition(self, kind: str, definition: str) -> str | None:
        """Return the kept shape of a definition."""
        ...

    async def streams(self, prefix: str, *, limit: int = HEADS_MAX) -> list[StreamName]:
        """Return the names of the streams that begin with *prefix*, in the order of the alphabet."""
        ...

    async def nodes(self) -> list[NodeRow]:
        """Return every node that ever joined and has not been forgotten, newest first."""
        ...

    async def health(self) -> list[tuple[str, bool, str]]:
        """Return (check, is_good, finding) about the database's version and durability."""
        ...
