"""A broker that is gone with its process: for tests, simulations, and homes in memory.

```
   MemoryBroker ─┐                   ┌─ topic ── partition ── events
   MemoryBroker ─┴──▶ MemoryTopics ──┤                └─ progress of each group
                        (one a name) └─ topic …
```

Whoever subscribes to a partition takes it over from whoever had it: what that one has not
acknowledged is delivered again, at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence

from finality.adapters.memory.subscription import MemorySubscription
from finality.adapters.memory.topics import EVENT_BYTES_MAX, MemoryTopics
from finality.adapters.subscriptions import Subscriptions
from finality.adapters.waves import Outcomes, too_large
from finality.core.envelope import Envelope
from finality.core.errors import FinalityError
from finality.ports.broker import PARTITIONS, PUBLISH_EVENTS_MAX, Capabilities, Delivery
from finality.ports.environment import Environment
from finality.ports.topic_names import check_group, check_topic

CAPABILITIES = Capabilities(
    drops_repeats=True, replays=True, counts_deliveries=True, event_bytes_max=EVENT_BYTES_MAX
)


def broker(url: str) -> MemoryBroker:
    """Return the broker at ``memory://NAME``; without a name it is nobody else's."""
    return MemoryBroker(url.removeprefix("memory://"))


class MemoryBroker:
    """Fulfils ``ports.broker.Broker``.

    Args:
        topics: What it shares with others; a name finds the topics of this process that have it.
    """

    def __init__(self, topics: str | MemoryTopics = "") -> None:
        self.topics = MemoryTopics.named(topics) if isinstance(topics, str) else topics
        self.name = f"memory://{self.topics.name}"
        self.capabilities = CAPABILITIES
        self._subscriptions: Subscriptions[MemorySubscription] = Subscriptions()

    async def open(self, environment: Environment) -> None:
        """Do nothing: what is in memory is there."""

    async def declare(self, topic: str, *, partitions: int = PARTITIONS) -> int:
        """Make sure that the topic is there; return how many partitions it has."""
        with self.topics.lock:
            return len(self.topics.declare(check_topic(topic), partitions).partitions)

    async def publish(self, events: Sequence[Envelope]) -> list[FinalityError | None]:
        """Store events; they are there as long as the process is."""
        assert len(events) <= PUBLISH_EVENTS_MAX, f"{len(events)} events are more than a batch"
        outcomes = Outcomes(events)
        with self.topics.lock:
            for place, event in enumerate(events):
                if outcomes.may_go(place) and outcomes.has_topic(place):
                    self._store(place, event, outcomes)
        return outcomes.each

    def _store(self, place: int, event: Envelope, outcomes: Outcomes) -> None:
        topic = self.topics.find(event.topic)
        if topic is None:
            outcomes.reject(place, f"no topic {event.topic!r} was declared; declare it")
        elif len(event.data) > EVENT_BYTES_MAX:
            outcomes.reject(place, too_large(event, EVENT_BYTES_MAX))
        elif (problem := topic.publish(event)) is not None:
            outcomes.fail(place, problem)

    async def subscribe(self, topic: str, group: str, partitions: Collection[int]) -> MemorySubscription:
        """Begin to read some partitions for a group; whoever read them before gets no more of them."""
        subscription = MemorySubscription(self.topics, topic, check_group(group), partitions)
        return self._subscriptions.add(subscription)

    async def replay(self, topic: str, partition: int, *, after: str = "") -> AsyncIterator[Delivery]:
        """Yield what a partition holds behind a position."""
        with self.topics.lock:
            events = self.topics.topic(topic).partitions[partition].after(int(after or 0))
        for position, event in events:
            yield Delivery(event, partition, str(position), attempt=0)

    async def lag(self, topic: str, group: str) -> int:
        """Return how many events the group has not acknowledged yet."""
        with self.topics.lock:
            return sum(each.lag(group) for each in self.topics.topic(topic).partitions)

    async def health(self) -> list[tuple[str, bool, str]]:
        """Say that nothing here outlives the process."""
        finding = (
            f"{self.name} forgets every event with its process: name a broker on disk, as sqlite:///events.db"
        )
        return [("durable", False, finding)]

    async def close(self) -> None:
        """Close its subscriptions; the events stay for others of this name."""
        await self._subscriptions.close()
