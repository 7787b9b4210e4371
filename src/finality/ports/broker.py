"""A broker: where events go that others react to, and where they come from.

```
   relay ── publish ──▶ topic ─┬─ partition 0 ──▶ subscription of a group ── take ──▶ reaction
                               ├─ partition 1          ▲                                  │
                               └─ partition 2 …        └── ack · retry_later · park ◀─────┘
```

A topic has a fixed number of partitions, and a key always lands on the same one: order is kept there.
Which node reads which partition of a group is not the broker's to say: nodes lease partitions of their
home store, so that all brokers are alike, and an inbox stands behind every delivery. So a broker may
deliver twice, and may deliver again what was acknowledged; it may not lose what it acknowledged (its
``capabilities`` say under which settings) and may not turn the order within a partition around, but
for what it delivers again.

Every promise here is proved by one suite for all adapters, in ``tests/conformance``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from finality.core.envelope import Envelope
from finality.core.errors import FinalityError
from finality.ports.environment import Environment

PARTITIONS = 8  # Of a new topic: as many nodes may share one group's work.
PUBLISH_EVENTS_MAX = 500  # A batch of a relay: about 1 MiB of usual events.
TAKE_EVENTS_MAX = 100  # Events of one subscription that are delivered and not yet acknowledged, per take.
PARKED_PARTITIONS = 1  # Of a topic of events that were put aside: a person reads them, in one order.
PARKED_BECAUSE = "parkedbecause"  # The attribute of a parked event that says why.
PARKED_BECAUSE_CHARACTERS_MAX = 1_000  # A sentence and a cause, not a traceback: it travels in a header.


class Rejected(FinalityError):
    """The broker says no to this very event, and would again: it is too large, or its topic is no name."""

    code = "rejected"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a broker can promise, as it is set up.

    Attributes:
        drops_repeats: An event published again with the same id, within the broker's window, is stored once.
        replays: What was acknowledged can be read again, from a position.
        counts_deliveries: ``Delivery.attempt`` is counted by the broker, also over a crash of the consumer.
        event_bytes_max: The largest event that it takes.
    """

    drops_repeats: bool
    replays: bool
    counts_deliveries: bool
    event_bytes_max: int


class Delivery(NamedTuple):
    """An event that a group has been given, until it is acknowledged.

    Attributes:
        position: Its place in the topic's partition, to replay from; empty where the broker has none.
        attempt: How often the group was given it, from 1; 0 where nobody counts.
        receipt: The adapter's own.
    """

    envelope: Envelope
    partition: int
    position: str
    attempt: int
    receipt: Any = None


class Subscription(Protocol):
    """Some partitions of a topic, read for a group."""

    async def take(self, limit: int = TAKE_EVENTS_MAX) -> list[Delivery]:
        """Wait until there is something, and return it, in order within each partition; cancel it freely.

        Once the subscription is closed it returns nothing, also if it was waiting. So it does, soon, at a
        broker that gives a partition to one subscriber at a time and has given one of these to another:
        close it, and subscribe again to what is yours.

        What was taken and is neither acknowledged nor put back is delivered again, at the latest
        when the subscription is closed or its process has died.

        Raises:
            Unavailable: The broker is out of reach; take again later.
        """
        ...

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Tell the broker that the group is done with these; in any order.

        Raises:
            Unavailable: It may not have heard: some may be delivered again.
        """
        ...

    async def retry_later(self, delivery: Delivery, seconds: float) -> None:
        """Give it back: it is delivered again to the group after so many seconds or more.

        Others of its partition overtake it: whoever wants order keeps it in hand instead. Who takes the
        partition over meanwhile may be given it at once.
        """
        ...

    async def park(self, delivery: Delivery, because: str) -> None:
        """Put it aside for a person, on the topic ``parked_topic(topic, group)``, and acknowledge it."""
        ...

    async def close(self) -> None:
        """Let go; what was taken and not acknowledged goes to whoever subscribes next, at once."""
        ...


class Broker(Protocol):
    """One connection to a broker.

    Attributes:
        name: What operators call it: its kind and address, without a password.
        capabilities: What it can promise, as it is set up.
    """

    name: str

    @property
    def capabilities(self) -> Capabilities:
        """Return what it can promise."""
        ...

    async def open(self, environment: Environment) -> None:
        """Connect.

        Raises:
            Unavailable: It is out of reach, or the extra that it needs is not installed.
        """
        ...

    async def declare(self, topic: str, *, partitions: int = PARTITIONS) -> int:
        """Make sure that the topic is there; return how many partitions it has, which never changes.

        Raises:
            DefinitionError: *topic* is no name that every broker could carry.
            Unavailable: The broker is out of reach.
        """
        ...

    async def publish(self, events: Sequence[Envelope]) -> list[FinalityError | None]:
        """Store events, each on the partition of its key; return what became of each.

        At most ``PUBLISH_EVENTS_MAX``, of any topics that were declared. None: it is stored, and safe
        as ``health`` says. ``Rejected``: it never will be. ``Unavailable``: nobody knows, so publish it
        again. Within a key they are stored in order, and behind one that was not stored none of its
        key is. What is published again has the same id.
        """
        ...

    async def subscribe(self, topic: str, group: str, partitions: Collection[int]) -> Subscription:
        """Begin to read some partitions for a group, from what it has not acknowledged yet.

        A new group begins with the oldest event that is still there. Nobody else may subscribe to
        the same partitions for the group at that time; the caller's leases see to that.

        Raises:
            NotFound: The topic was not declared.
            Unavailable: The broker is out of reach.
        """
        ...

    def replay(self, topic: str, partition: int, *, after: str = "") -> AsyncIterator[Delivery]:
        """Yield what a partition holds behind a position, up to what is there now; nothing is acknowledged.

        Raises:
            DefinitionError: This broker cannot (``capabilities.replays``).
        """
        ...

    async def lag(self, topic: str, group: str) -> int:
        """Return how many events the group has not acknowledged yet."""
        ...

    async def health(self) -> list[tuple[str, bool, str]]:
        """Return (check, is_good, finding) about the settings that its promises rest on."""
        ...

    async def close(self) -> None:
        """Let go of the connection."""
        ...


def parked_topic(topic: str, group: str) -> str:
    """Return the topic on which a broker keeps what a group has put aside."""
    return f"{topic}.parked.{group}"


def parked(envelope: Envelope, group: str, because: str) -> Envelope:
    """Return *envelope* as it is put aside: with all that it was, and on one line why."""
    reason = " ".join(because.split())[:PARKED_BECAUSE_CHARACTERS_MAX]
    extensions = {**envelope.extensions, PARKED_BECAUSE: reason}
    return envelope._replace(topic=parked_topic(envelope.topic, group), extensions=extensions)
