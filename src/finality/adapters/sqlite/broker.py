"""A broker in a SQLite file: nothing to run, and several processes of one machine share it.

```
   publish ──┐                        ┌──▶ topics · pages of events      take = given, and counted
   take    ──┼──▶ turns of a Writer ──┤
   ack     ──┘    (group commit)      └──▶ progress of groups
```

What is acknowledged to a publisher is on disk: a write-ahead log with ``synchronous=FULL``. So is
what a group has acknowledged, and how often it was given what it has not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from pathlib import Path
from typing import Any

from finality.adapters.fork import keep_out_of_children
from finality.adapters.group_commit import Writer
from finality.adapters.sqlite.broker_transaction import SQL, BrokerTransaction, Topic
from finality.adapters.sqlite.broker_turns import Prune, ask
from finality.adapters.sqlite.connection import OUT_OF_REACH, connect, explain, health_of
from finality.adapters.sqlite.engine import SqliteEngine
from finality.adapters.sqlite.page import in_pages, packed, unpacked
from finality.adapters.sqlite.schema import BROKER, migrate, migrations
from finality.adapters.sqlite.store import Gone
from finality.adapters.sqlite.subscription import SqliteSubscription
from finality.adapters.sqlite.watch import Watch, ring
from finality.adapters.subscriptions import Subscriptions
from finality.adapters.waves import Outcomes, too_large
from finality.core.envelope import Envelope
from finality.core.errors import FinalityError, NotFound, Unavailable
from finality.core.placement import partition_of
from finality.ports.broker import (
    PARKED_PARTITIONS,
    PARTITIONS,
    PUBLISH_EVENTS_MAX,
    Capabilities,
    Delivery,
)
from finality.ports.environment import Environment
from finality.ports.topic_names import check_group, check_topic

BROKER_EVENT_BYTES_MAX = 1 << 20  # 1 MiB, as in a journal.
RETENTION_SECONDS = 7 * 86_400.0  # A week, in which what was acknowledged can be replayed.
PRUNE_SECONDS = 60.0  # How often whoever publishes looks for what was kept long enough.

CAPABILITIES = Capabilities(
    drops_repeats=True,
    replays=True,
    counts_deliveries=True,
    event_bytes_max=BROKER_EVENT_BYTES_MAX,
)


def broker(url: str) -> SqliteBroker:
    """Return the broker at ``sqlite:///events.db`` or ``sqlite:////var/lib/events.db``."""
    return SqliteBroker(Path(url.removeprefix("sqlite:///")))


class SqliteBroker:
    """Fulfils ``ports.broker.Broker``.

    Args:
        path: The file, which is made if it is not there. It may be no store of a node: each has a
            write turn of its own.
        retention_seconds: How long acknowledged events are kept.
    """

    def __init__(self, path: Path | str, *, retention_seconds: float = RETENTION_SECONDS) -> None:
        self.name = f"sqlite:///{path}"
        self.capabilities = CAPABILITIES
        self._path = path
        self._retention_seconds = retention_seconds
        self._prune_at = 0.0
        self._topics: dict[str, Topic] = {}
        self._subscriptions: Subscriptions[SqliteSubscription] = Subscriptions()
        # Any: until it is open, and once it is closed, what stands here refuses whatever is asked of it.
        closed: Any = Gone(f"broker {self.name} is unavailable: it is not open")
        self._writer = self._reader = self._environment = closed

    # ── Opening and closing ─────────────────────────────────────────────────────────────────

    async def open(self, environment: Environment) -> None:
        """Open the file, and make in it what is not there."""
        connection = connect(self._path)
        try:
            migrate(connection, migrations(BROKER))
            self._reader = connect(self._path, is_reader=True)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._environment = environment
        transaction = BrokerTransaction(connection, environment)
        engine = SqliteEngine(connection, transaction, self._path, environment)
        self._writer = Writer(engine, self.name, environment)
        self._watch = Watch(self._reader, self._path, can_listen=environment.is_threaded)
        keep_out_of_children(self)

    async def close(self) -> None:
        """Close its subscriptions, settle what was asked, and let go of the file."""
        if isinstance(self._writer, Gone):
            return
        await self._subscriptions.close()
        self._watch.close()
        await self._writer.close()
        self._reader.close()
        self._connection.close()
        self._writer = self._reader = Gone(f"broker {self.name} is unavailable: it is closed")

    def keep_out(self) -> None:
        """Refuse everything in a child process that was forked with this broker in it."""
        self._kept = (self._reader, self._writer)
        self._watch.forget()
        self._writer = self._reader = Gone(
            f"broker {self.name} is unavailable: it was opened before this process was forked; "
            "open it again in this process"
        )

    # ── Publishing ──────────────────────────────────────────────────────────────────────────

    async def declare(self, topic: str, *, partitions: int = PARTITIONS) -> int:
        """Make sure that the topic is there; return how many partitions it has."""
        check_topic(topic)
        found = self._topic(topic)
        if found is None:
            found = await ask(self._writer, "declaration", lambda tx: tx.declare(topic, partitions))
            self._topics[topic] = found
        return found.partitions

    def _topic(self, name: str) -> Topic | None:
        """Return the topic, if it was declared, here or by another process."""
        if name not in self._topics:
            for row in self._rows("topic", (name,)):
                self._topics[name] = Topic(*row)
        return self._topics.get(name)

    async def publish(self, events: Sequence[Envelope]) -> list[FinalityError | None]:
        """Store events, all in one commit."""
        assert len(events) <= PUBLISH_EVENTS_MAX, f"{len(events)} events are more than a batch"
        outcomes = Outcomes(events)
        try:
            await self._store(events, outcomes)
        except FinalityError as problem:
            unsure = Unavailable(f"events may not have been stored: {problem}; publish them again")
            return [outcome or unsure for outcome in outcomes.each]
        return outcomes.each

    async def _store(self, events: Sequence[Envelope], outcomes: Outcomes) -> None:
        """Store what can be, and note in *outcomes* why the rest cannot."""
        placed: dict[tuple[int, int], list[Envelope]] = {}
        topics = {name: self._topic(name) for name in {event.topic for event in events}}
        for place, event in enumerate(events):
            if not outcomes.may_go(place):
                continue
            topic = topics[event.topic]
            if topic is not None and len(event.data) <= BROKER_EVENT_BYTES_MAX:
                partition = partition_of(event.key or event.id, topic.partitions)
                placed.setdefault((topic.key, partition), []).append(event)
            elif topic is not None:
                outcomes.reject(place, too_large(event, BROKER_EVENT_BYTES_MAX))
            elif outcomes.has_topic(place):
                outcomes.reject(place, f"no topic {event.topic!r} was declared; declare it")
        if placed:
            pages = [
                packed(*where, page) for where, together in placed.items() for page in in_pages(together)
            ]
            await ask(self._writer, "publishing", lambda tx: tx.store(pages))
            ring(self._watch.identity)
            self._prune_sometimes(self._environment.now())

    def _prune_sometimes(self, now: float) -> None:
        if now >= self._prune_at:
            self._prune_at = now + PRUNE_SECONDS
            self._writer.put(Prune(now - self._retention_seconds))

    # ── Reading ─────────────────────────────────────────────────────────────────────────────

    async def subscribe(self, topic: str, group: str, partitions: Collection[int]) -> SqliteSubscription:
        """Begin to read some partitions for a group; whoever read them before gets no more of them."""
        check_group(group)
        found, numbers = self._declared(topic), sorted(partitions)
        held = await ask(self._writer, f"begin of {group}", lambda tx: tx.hold(found, group, numbers))
        subscription = SqliteSubscription(
            self._writer, self._watch, self._environment, self._rows, self._put_aside,
            (found.key, topic), group, held,
        )  # fmt: skip
        return self._subscriptions.add(subscription)

    def _declared(self, topic: str) -> Topic:
        found = self._topic(topic)
        if found is None:
            raise NotFound(f"broker {self.name} has no topic {topic!r}: declare it first")
        return found

    async def _put_aside(self, event: Envelope) -> None:
        await self.declare(event.topic, partitions=PARKED_PARTITIONS)
        (problem,) = await self.publish([event])
        if problem is not None:
            raise problem

    async def replay(self, topic: str, partition: int, *, after: str = "") -> AsyncIterator[Delivery]:
        """Yield what a partition holds behind a position."""
        key = self._declared(topic).key
        [(newest,)] = self._rows("newest")
        position = int(after or 0)
        while rows := self._rows("read", (key, partition, position, 1)):
            [(first, last, attributes, data)] = rows
            if first > newest:
                return
            for place, event in enumerate(unpacked(attributes, data, topic), first):
                if place > position:
                    yield Delivery(event, partition, str(place), attempt=0)
            position = last

    async def lag(self, topic: str, group: str) -> int:
        """Return how many events the group has not acknowledged yet."""
        key = self._declared(topic).key
        [(lag,)] = self._rows("lag", (key, group))
        if lag is None:
            [(lag,)] = self._rows("count", (key,))
        return int(lag)

    def _rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[Any]:
        try:
            return list(self._reader.execute(SQL[statement], parameters).fetchall())
        except OUT_OF_REACH as error:
            raise explain(error) from error

    async def health(self) -> list[tuple[str, bool, str]]:
        """Return what the doctor wants to know of the file, asked of the connection that writes."""
        return await ask(self._writer, "doctor", lambda tx: health_of(self._connection))
