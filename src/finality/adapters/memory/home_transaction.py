"""What a turn can do in a home store in memory: the journal, the heads and the nodes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from finality.adapters.checks import conflict
from finality.adapters.memory.database import Event, MemoryDatabase
from finality.adapters.memory.rows import recorded_of
from finality.adapters.memory.sources import MemorySources
from finality.adapters.memory.transaction import MemoryTransaction
from finality.core.errors import NotFound
from finality.core.ids import NodeId, StreamName, Version, transaction_stream
from finality.core.protocol import Recorded
from finality.core.saga import Summary
from finality.core.saga.events import TakenOver
from finality.core.sourcing import Fact
from finality.ports.codec import Codec
from finality.ports.environment import Environment
from finality.ports.home import Birth, Head, NodeRow


class MemoryHomeTransaction(MemoryTransaction):
    """Fulfils ``ports.home.HomeTransaction``."""

    def __init__(self, database: MemoryDatabase, environment: Environment, codec: Codec) -> None:
        super().__init__(database, environment)
        self._codec = codec
        self._own = NodeId("")
        self.sources = MemorySources(self, database, codec)

    @property
    def node(self) -> NodeId | None:
        """Return the node that writes, once it has joined."""
        return self._own if self._database.nodes.get(self._own) else None

    # ── The journal ─────────────────────────────────────────────────────────────────────────

    def create(self, birth: Birth, events: Sequence[Any], summary: Summary) -> int | None:
        """Begin a transaction's stream."""
        rows = self._codec.encode_events(events)
        database, name = self._database, transaction_stream(birth.id)
        kept = database.definitions.get((birth.kind, birth.definition))
        assert kept is not None, f"definition {birth.kind}@{birth.definition} is not kept"
        if birth.driver:
            self._check_joined(birth.driver)
        if database.keys.get(name) is not None:
            return None
        key = self._begin_stream(name)
        database.heads.put(
            key,
            Head(
                key, birth.id, birth.kind, birth.definition, Version(len(rows)), summary.status,
                summary.has_ended, summary.wake_at, birth.driver or None, self.at, self.at, birth.parent,
            ),
        )  # fmt: skip
        self._insert(key, name, 0, rows)
        return key

    def append(
        self, key: int, events: Sequence[Any], *, expected: Version, summary: Summary | None = None
    ) -> None:
        """Append to a transaction's stream."""
        rows = self._codec.encode_events(events)
        head = self._database.heads.get(key)
        if head is None or head.version != expected:
            raise conflict(str(key), expected, head.version if head else 0)
        version = self._insert(key, transaction_stream(head.id), expected, rows)
        status, has_ended, wake_at = head.status, head.has_ended, head.wake_at
        if summary is not None:
            status, has_ended, wake_at = summary.status, summary.has_ended, summary.wake_at
        # Spelled out: replace() costs more than all the rest of an append.
        self._database.heads.put(
            key,
            Head(
                key, head.id, head.kind, head.definition, version, status, has_ended, wake_at, head.driver,
                head.started_at, self.at, head.parent, head.note,
            ),
        )  # fmt: skip
        if has_ended:
            self.unlock_all(key)

    def append_to(self, stream: StreamName, events: Sequence[Any], *, expected: Version) -> Version:
        """Append to a stream that is no transaction."""
        rows = self._codec.encode_events(events)
        key = self.begun(stream, expected)
        head = self._database.heads.get(key)
        version = self._insert(key, stream, expected, rows)
        if head is not None:
            self._database.heads.put(key, replace(head, version=version, updated_at=self.at))
        return version

    def begun(self, stream: StreamName, expected: int) -> int:
        """Return the key of a stream that is at *expected*, and begin it if that is nothing."""
        key = self._database.keys.get(stream)
        actual = 0 if key is None else self._database.versions.get(key)
        if actual != expected or (key is not None and expected == 0):
            raise conflict(stream, expected, actual or 0)
        return self._begin_stream(stream) if key is None else key

    def insert(self, key: int, stream: StreamName, version: int, facts: Sequence[Fact]) -> None:
        """Put *facts* behind *version*."""
        new = self._database.new_events
        first = len(new)
        self._insert(key, stream, version, [(fact.type, fact.data) for fact in facts])
        for place, fact in enumerate(facts, first):
            new[place] = new[place]._replace(meta=fact.meta, tags=frozenset(fact.tags))

    def _begin_stream(self, name: StreamName) -> int:
        database = self._database
        database.last_key += 1
        database.keys.put(name, database.last_key)
        return database.last_key

    def _insert(self, key: int, stream: StreamName, version: int, rows: list[tuple[str, bytes]]) -> Version:
        self._check()
        database = self._database
        by = self._own if database.nodes.get(self._own) else NodeId("")
        position = len(database.events) + len(database.new_events)
        for type_name, data in rows:
            version += 1
            position += 1
            database.new_events.append(Event(position, key, stream, version, type_name, data, self.at, by))
        database.versions.put(key, version)
        return Version(version)

    def read(self, key: int, *, after: Version = Version(0)) -> list[Recorded]:
        """Return a transaction's events behind *after*."""
        events = [*self._database.streams.get(key, ())[after:]]
        events += [event for event in self._database.new_events if event.key == key and event.version > after]
        return [recorded_of(event, self._codec) for event in events]

    # ── Heads ───────────────────────────────────────────────────────────────────────────────

    def head(self, key: int) -> Head:
        """Return the head as this transaction sees it."""
        head = self._database.heads.get(key)
        if head is None:
            raise NotFound(f"no transaction has the key {key}")
        return head

    def wake(self, key: int) -> None:
        """Let whoever drives the transaction look at it."""
        self.set_wake(key, 0.0)

    def migrate(self, key: int, kind: str, definition: str) -> None:
        """Put the transaction under another version of its definition."""
        kept = self._database.definitions.get((kind, definition))
        assert kept is not None, f"definition {kind}@{definition} is not kept"
        self._change(key, kind=kind, definition=definition, note=None)

    def note(self, key: int, note: str | None) -> None:
        """Say at the head why no node can drive the transaction."""
        self._change(key, note=note)

    def release(self, key: int, note: str) -> None:
        """Let go of a transaction that its node cannot drive, and say why."""
        head = self._database.heads.get(key)
        if head is not None and not head.has_ended:
            self._change(key, driver=None, wake_at=0.0, note=note)

    def set_wake(self, key: int, wake_at: float | None) -> None:
        """Renew the time at which the transaction wakes."""
        head = self._database.heads.get(key)
        if head is not None and not head.has_ended:
            self._change(key, wake_at=wake_at)

    def _change(self, key: int, **changes: Any) -> None:
        self._check()
        head = self._database.heads.get(key)
        if head is not None:
            self._database.heads.put(key, replace(head, **changes))

    def lock(self, key: int, resource: str) -> int | None:
        """Take a semantic lock."""
        self._check()
        held = self._database.locks.get(resource)
        if held is None:
            self._database.locks.put(resource, (key, self.at))
        return None if held is None or held[0] == key else held[0]

    def lock_holder(self, resource: str) -> tuple[int, float] | None:
        """Return who holds a semantic lock, and since when."""
        self._check()
        return self._database.locks.get(resource)

    def unlock_all(self, key: int) -> None:
        """Release the transaction's semantic locks."""
        self._check()
        for resource in [resource for resource, holder in self._database.locks.rows() if holder[0] == key]:
            self._database.locks.put(resource, None)

    def define(self, kind: str, definition: str, graph: str) -> None:
        """Keep the shape of a definition."""
        self._check()
        self._database.definitions.put((kind, definition), graph)

    # ── Nodes ───────────────────────────────────────────────────────────────────────────────

    def renew(self, node: NodeRow) -> None:
        """Enter the node or renew its lease."""
        self._check()
        before = self._database.nodes.get(node.id)
        if before is not None:
            node = replace(before, drives=node.drives, lease_until=node.lease_until)
        self._database.nodes.put(node.id, node)
        self._own = node.id

    def leave(self, node: NodeId) -> None:
        """End the node's lease and let go of its transactions."""
        row = self._check_joined(node)
        self.let_go(node)
        self._database.nodes.put(node, replace(row, lease_until=0.0))

    def _check_joined(self, node: NodeId) -> NodeRow:
        row = self._database.nodes.get(node)
        assert row is not None, f"node {node} has not joined"
        return row

    def let_go(self, node: NodeId, *, keep: Collection[int] = ()) -> None:
        """Let go of the node's transactions, but for those to *keep*."""
        self._check_joined(node)
        for key in self._database.open_keys():
            head = self.head(key)
            if head.driver == node and key not in keep:
                self._change(key, driver=None, wake_at=head.wake_at or 0.0)

    def claim_due(self, node: NodeId, now: float, *, limit: int) -> list[tuple[int, str]]:
        """Take the node's transactions whose time has come in hand."""
        self._check_joined(node)
        due = sorted(
            (head.wake_at, key, head.kind)
            for key in self._database.open_keys()
            if (head := self.head(key)).driver == node and head.wake_at is not None and head.wake_at <= now
        )[:limit]
        for _, key, _ in due:
            self._change(key, wake_at=None)
        return [(key, kind) for _, key, kind in due]

    def take_over(
        self,
        node: NodeId,
        drives: frozenset[str],
        *,
        accepts: frozenset[str] = frozenset(),
        expired_before: float,
        limit: int,
    ) -> int:
        """Give *node* transactions that nobody alive drives."""
        self._check_joined(node)
        dead = {
            id for id, row in self._database.nodes.rows() if row.lease_until < expired_before and id != node
        }
        takeable = [
            head
            for key in sorted(self._database.open_keys())
            if ((head := self.head(key)).driver is None or head.driver in dead)
            and f"{head.kind}@{head.definition}" in (drives if head.note else drives | accepts)
        ][:limit]
        for head in takeable:
            event = TakenOver(node, head.driver or NodeId(""))
            rows = self._codec.encode_events([event])
            version = self._insert(head.key, transaction_stream(head.id), head.version, rows)
            wake_at = 0.0 if head.status == "compensating" else head.wake_at or 0.0
            self._change(
                head.key, version=version, driver=node, wake_at=wake_at, updated_at=self.at, note=None
            )
        return len(takeable)
