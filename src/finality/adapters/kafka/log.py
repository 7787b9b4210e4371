"""The partitions of a topic of Kafka, as a subscription reads them.

Partitions are assigned by hand: the cluster shifts none about, for our leases say who reads what. Progress is
committed under the group's name, up to where all is done; the text beside it says what is done further on.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    ConsumerStoppedError,
    GroupCoordinatorNotAvailableError,
    KafkaError,
    NotCoordinatorForGroupError,
)
from aiokafka.structs import OffsetAndMetadata

from finality.adapters.kafka.connection import ANSWER_SECONDS_MAX, Cluster, answered
from finality.adapters.kafka.records import envelope_from
from finality.adapters.kept_progress import progress_of, text_of
from finality.adapters.log_subscription import Entry
from finality.adapters.progress import Progress
from finality.core.envelope import Envelope

QUIET_SECONDS_MAX = 1.0  # Then the cluster is asked for a sign of life: the client waits for ever.
READ_EVENTS_MAX = 500  # Of a read.
COORDINATOR_SECONDS = 0.05  # Between two questions for who keeps a group's progress.
COMMIT_AGAIN_SECONDS = 3_600.0  # Kafka forgets a group's progress that nobody has committed for a week.


class KafkaLog:
    """Fulfils ``adapters.log_subscription.Log``."""

    def __init__(self, cluster: Cluster, topic: str, group: str, progress: Mapping[int, Progress]) -> None:
        self._cluster = cluster
        self._topic = topic
        self._group = group
        self._progress = dict(progress)  # As it was kept last.
        self._kept_at = time.monotonic()
        self._consumer: AIOKafkaConsumer | None = None

    async def open(self) -> None:
        """Begin to read behind what is done.

        Raises:
            Unavailable: The cluster is out of reach.
        """
        self._consumer = await started(self._cluster, self._group)
        places = {self._at(partition): each for partition, each in self._progress.items()}
        self._consumer.assign(list(places))
        for place, progress in places.items():
            if progress.read_to >= 0:  # A new group begins with the oldest, as the client does by itself.
                self._consumer.seek(place, progress.done_to + 1)

    def _at(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)

    async def read(self) -> Sequence[Entry]:
        """Wait for events; ask for a sign of life where there are none."""
        consumer = self._consumer
        assert consumer is not None, "the log was not opened"
        while True:
            try:
                found = await consumer.getmany(
                    timeout_ms=int(QUIET_SECONDS_MAX * 1_000), max_records=READ_EVENTS_MAX
                )
            except ConsumerStoppedError:
                return ()
            if found:
                return [
                    Entry(each.partition, each.offset, self._envelope(each))
                    for records in found.values()
                    for each in records
                ]
            async with answered(self._cluster.name, "cannot be read"):
                await consumer.end_offsets(consumer.assignment())
            if time.monotonic() - self._kept_at > COMMIT_AGAIN_SECONDS:
                await self.keep({n: each for n, each in self._progress.items() if each.read_to >= 0})

    def _envelope(self, record: ConsumerRecord) -> Envelope:
        return envelope_from(record, topic=self._topic, broker=self._cluster.name)

    async def keep(self, progress: Mapping[int, Progress]) -> None:
        """Commit the group's progress."""
        consumer = self._consumer
        assert consumer is not None, "the log was not opened"
        commits = {self._at(n): (each.done_to + 1, text_of(each)) for n, each in progress.items()}
        async with answered(self._cluster.name, f"did not keep the progress of {self._group!r}"):
            await consumer.commit(commits)
        self._progress.update(progress)
        self._kept_at = time.monotonic()

    async def close(self) -> None:
        """Let go."""
        if self._consumer is not None:
            await stopped(self._consumer)


async def started(cluster: Cluster, group: str | None) -> AIOKafkaConsumer:
    """Return a consumer that sees only what was committed, from the oldest.

    Raises:
        Unavailable: The cluster is out of reach.
    """
    consumer = AIOKafkaConsumer(
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        **cluster.client,
    )
    try:
        async with answered(cluster.name, "lets nobody read"):
            await consumer.start()
    except BaseException:
        await stopped(consumer)
        raise
    return consumer


async def stopped(consumer: AIOKafkaConsumer) -> None:
    """Let a consumer go."""
    with contextlib.suppress(KafkaError, OSError, TimeoutError):  # It is gone either way.
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            await consumer.stop()


async def kept(
    cluster: Cluster, admin: AIOKafkaAdminClient, topic: str, group: str, partitions: Iterable[int]
) -> dict[int, Progress]:
    """Return a group's progress in partitions, as it was kept; of a new one it is -1.

    Raises:
        Unavailable: The cluster is out of reach.
    """
    places = [TopicPartition(topic, each) for each in partitions]
    async with answered(cluster.name, f"does not tell the progress of {group!r}"):
        while True:
            try:
                found = await admin.list_consumer_group_offsets(group, partitions=places)
                return {place.partition: _progress(found.get(place)) for place in places}
            except (GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError):
                await asyncio.sleep(COORDINATOR_SECONDS)  # It is being chosen.


def _progress(commit: OffsetAndMetadata | None) -> Progress:
    if commit is None or commit.offset < 0:
        return Progress(-1)
    try:
        found = progress_of(commit.metadata)
    except ValueError:  # Kafka's own tools have set it, and write nothing there.
        return Progress(commit.offset - 1)
    return found if found.done_to + 1 == commit.offset else Progress(commit.offset - 1)


async def replayed(
    cluster: Cluster, topic: str, partition: int, *, behind: int
) -> AsyncIterator[ConsumerRecord]:
    """Yield the records of a partition behind an offset, up to what is there now.

    Raises:
        Unavailable: The cluster is out of reach.
    """
    place = TopicPartition(topic, partition)
    consumer = await started(cluster, None)
    try:
        consumer.assign([place])
        async with answered(cluster.name, "cannot be read"):
            end = (await consumer.end_offsets([place]))[place]
            begin = max((await consumer.beginning_offsets([place]))[place], behind + 1)
        consumer.seek(place, begin)
        while begin < end:
            async with answered(cluster.name, "cannot be read"):
                found = await consumer.getmany(timeout_ms=int(QUIET_SECONDS_MAX * 1_000))
                begin = await consumer.position(place)
            for record in found.get(place, ()):
                if record.offset < end:
                    yield record
    finally:
        await stopped(consumer)
