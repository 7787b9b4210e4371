"""What brokers of one name share in memory: topics, their partitions, and each group's progress.

Whoever calls holds ``MemoryTopics.lock``: nodes of one process may run on threads of their own.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import ClassVar

from finality.adapters.progress import Progress
from finality.core.envelope import Envelope
from finality.core.errors import NotFound, Unavailable
from finality.core.placement import partition_of

EVENT_BYTES_MAX = 1 << 20  # 1 MiB, as in a journal.
RETAINED_EVENTS_MAX = 10_000  # Of a partition, which every group has acknowledged: to replay from.
PARTITION_EVENTS_MAX = 1_000_000  # Behind a group that has stopped; about 1 GiB of usual events.
REPEATS_MAX = 100_000  # Ids of a topic's latest events: a relay sends again what it sent a moment ago.


class MemoryTopics:
    """The topics of a name; gone when no broker holds them any more."""

    _named: ClassVar[weakref.WeakValueDictionary[str, MemoryTopics]] = weakref.WeakValueDictionary()
    _naming: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.lock = threading.RLock()
        self._topics: dict[str, Topic] = {}

    @classmethod
    def named(cls, name: str) -> MemoryTopics:
        """Return those of this process that have the name; without a name they are nobody else's."""
        with cls._naming:
            return cls._named.setdefault(name, cls(name)) if name else cls()

    def declare(self, name: str, partitions: int) -> Topic:
        """Return the topic, made with so many partitions if it was not there."""
        if name not in self._topics:
            self._topics[name] = Topic(partitions)
        return self._topics[name]

    def find(self, name: str) -> Topic | None:
        """Return the topic, if it was declared."""
        return self._topics.get(name)

    def topic(self, name: str) -> Topic:
        """Return the topic.

        Raises:
            NotFound: It was not declared.
        """
        found = self.find(name)
        if found is None:
            raise NotFound(f"memory://{self.name} has no topic {name!r}: declare it first")
        return found


class Topic:
    """Partitions, and the ids that were published of late."""

    def __init__(self, partitions: int) -> None:
        self.partitions = [Partition() for _ in range(partitions)]
        self._ids: dict[tuple[str, str], None] = {}

    def publish(self, event: Envelope) -> Unavailable | None:
        """Store an event unless it is there; return why not, if it cannot be."""
        id = (event.source, event.id)
        if id in self._ids:
            return None
        partition = self.partitions[partition_of(event.key or event.id, len(self.partitions))]
        if partition.is_full:
            return Unavailable(
                f"event {event.id} was not stored: a group has left {PARTITION_EVENTS_MAX:,} events of a "
                f"partition of topic {event.topic!r} unacknowledged; start what reads it"
            )
        partition.append(event)
        self._ids[id] = None
        if len(self._ids) > REPEATS_MAX:
            del self._ids[next(iter(self._ids))]
        return None


class Partition:
    """Events in order, by position from 1.

    Attributes:
        progress: Of each group.
        wakers: What to call when there is an event, by group.
    """

    def __init__(self) -> None:
        self.progress: dict[str, Progress] = {}
        self.wakers: dict[str, Callable[[], None]] = {}
        self._events: list[Envelope] = []
        self._dropped = 0

    @property
    def last(self) -> int:
        """Return the position of the newest event."""
        return self._dropped + len(self._events)

    @property
    def is_full(self) -> bool:
        """Say whether a group is so far behind that no more is taken."""
        return len(self._events) >= PARTITION_EVENTS_MAX

    def append(self, event: Envelope) -> None:
        """Store an event; forget the oldest that nobody needs any more."""
        self._events.append(event)
        if len(self._events) >= 2 * RETAINED_EVENTS_MAX:
            done = min((each.done_to for each in self.progress.values()), default=self.last)
            unneeded = min(done, self.last - RETAINED_EVENTS_MAX) - self._dropped
            if unneeded > 0:
                del self._events[:unneeded]
                self._dropped += unneeded
        for wake in self.wakers.values():
            wake()

    def at(self, position: int) -> Envelope:
        """Return the event at a position that is still held."""
        return self._events[position - self._dropped - 1]

    def after(self, position: int) -> list[tuple[int, Envelope]]:
        """Return what is there behind a position, each with its own."""
        first = max(position, self._dropped)
        return list(enumerate(self._events[first - self._dropped :], first + 1))

    def of(self, group: str) -> Progress:
        """Return the group's progress; a new one begins with the oldest event."""
        return self.progress.setdefault(group, Progress(self._dropped))

    def lag(self, group: str) -> int:
        """Return how many events the group has not acknowledged."""
        progress = self.progress.get(group)
        if progress is None:
            return len(self._events)
        return self.last - progress.read_to + len(progress.in_hand) + len(progress.later)
