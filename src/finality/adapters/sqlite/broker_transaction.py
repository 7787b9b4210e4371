"""What a turn can do in a broker's file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from finality.adapters.named_statements import named_statements
from finality.adapters.sqlite.transaction import SqliteTransaction
from finality.core.envelope import Envelope
from finality.core.placement import partition_of
from finality.ports.broker import Delivery

SQL = named_statements(__package__, "broker.sql")


class Topic(NamedTuple):
    """A topic as it is kept."""

    key: int
    partitions: int


class Held(NamedTuple):
    """A partition that a subscription holds for its group."""

    partition: int
    progress: int
    holder: int


class Receipt(NamedTuple):
    """What tells a delivery from all others of its file."""

    progress: int
    position: int


class Taken(NamedTuple):
    """What a subscription was given.

    Attributes:
        lost: What somebody else holds by now.
        next_due: When something is to be given again.
    """

    deliveries: list[Delivery]
    lost: list[Held]
    next_due: float | None


class BrokerTransaction(SqliteTransaction):
    """The turns of a broker, on the connection that writes."""

    def declare(self, name: str, partitions: int) -> Topic:
        """Return the topic, made if it was not there."""
        self._guard()
        self._sql(SQL["declare"], (name, partitions))
        [row] = self._sql(SQL["topic"], (name,)).fetchall()
        return Topic(*row)

    def store(self, rows: Iterable[Sequence[Any]]) -> None:
        """Keep events, as ``row_of`` writes them."""
        self._guard()
        self._connection.executemany(SQL["store"], rows)

    def hold(self, topic: Topic, group: str, partitions: Sequence[int]) -> list[Held]:
        """Give partitions to a new subscription of the group; nobody else is given anything of them."""
        self._guard()
        self._connection.executemany(SQL["join"], [(topic.key, group, n) for n in range(topic.partitions)])
        held = []
        for partition in partitions:
            [(progress, holder)] = self._sql(SQL["hold"], (topic.key, group, partition)).fetchall()
            self._sql(SQL["let_go"], (progress,))
            held.append(Held(partition, progress, holder))
        return held

    def let_go(self, held: Sequence[Held]) -> None:
        """Give again at once what a subscription that is closed has not acknowledged."""
        self._guard()
        for each in held:
            if self._progress(each)[1] == each.holder:
                self._sql(SQL["let_go"], (each.progress,))

    def take(self, topic: tuple[int, str], held: Sequence[Held], limit: int) -> Taken:
        """Give a subscription what is due again and what is new, in order within each partition."""
        deliveries: list[Delivery] = []
        lost, dues = [], []
        for each in held:
            read_to, holder = self._progress(each)
            if holder != each.holder:
                lost.append(each)
                continue
            found = self._given(topic, each, read_to, limit - len(deliveries))
            deliveries += found
            [(due,)] = self._sql(SQL["next_due"], (each.progress,)).fetchall()
            if due is not None:
                dues.append(due)
        return Taken(deliveries, lost, min(dues, default=None))

    def _progress(self, held: Held) -> tuple[int, int]:
        [row] = self._sql(SQL["progress"], (held.progress,)).fetchall()
        return row  # type: ignore[no-any-return]  # two integers, as the schema says

    def _given(self, topic: tuple[int, str], held: Held, read_to: int, room: int) -> list[Delivery]:
        """Note and return what the group gets of a partition now."""
        key, name = topic
        rows = self._sql(SQL["again"], (held.progress, self.at, room)).fetchall()
        fresh = self._sql(SQL["read"], (key, held.partition, read_to, room - len(rows))).fetchall()
        rows += fresh
        if rows:
            self._guard()
            given = [(held.progress, row[-2], row[-1]) for row in rows]
            self._connection.executemany(SQL["give"], given)
        if fresh:
            self._sql(SQL["read_to"], (fresh[-1][-2], held.progress))
        return [delivery_of(row, name, held.partition, held.progress) for row in rows]

    def done(self, receipts: Sequence[Receipt]) -> None:
        """Note that the group is done with these."""
        self._guard()
        self._connection.executemany(SQL["done"], receipts)

    def put_back(self, receipt: Receipt, holder: int, due: float) -> None:
        """Give it again when it is due, unless somebody else holds the partition."""
        self._guard()
        self._sql(SQL["put_back"], (due, *receipt, receipt.progress, holder))

    def prune(self, before: float, limit: int) -> int:
        """Forget what everybody is done with and was stored before; return how many events that were."""
        self._guard()
        pruned = 0
        for topic, partition, floor in self._sql(SQL["floors"], (before,)).fetchall():
            self._sql(SQL["prune"], (topic, partition, floor, limit - pruned, before))
            pruned += self._connection.changes()
        return pruned


def row_of(event: Envelope, topic: Topic, at: float) -> tuple[Any, ...]:
    """Return the row that stands for an event."""
    extensions = json.dumps(dict(event.extensions)) if event.extensions else None
    return (
        topic.key, partition_of(event.key or event.id, topic.partitions), event.id, event.source, event.type,
        event.key, event.time, event.content_type, event.traceparent, event.correlation_id,
        event.causation_id, extensions, event.data, at,
    )  # fmt: skip


def delivery_of(row: Sequence[Any], topic: str, partition: int, progress: int = 0) -> Delivery:
    """Return the delivery that a row of ``read`` or ``again`` stands for."""
    extensions = json.loads(row[-3]) if row[-3] else {}
    id, source, type, data, key, time, content_type, traceparent, correlation, causation = row[:-3]
    envelope = Envelope(
        id, source, type, topic, data, key, time, content_type,
        traceparent, correlation, causation, extensions,
    )  # fmt: skip
    *_, position, attempt = row
    return Delivery(envelope, partition, str(position), attempt, Receipt(progress, position))
