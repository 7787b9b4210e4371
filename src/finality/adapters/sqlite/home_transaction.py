"""What a turn can do in a SQLite home store: the journal, the heads and the nodes."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

import apsw

from finality.adapters.checks import conflict
from finality.adapters.sqlite.queries import QUERIES
from finality.adapters.sqlite.rows import HEADS, Names, head_of, recorded_of
from finality.adapters.sqlite.sources import SqliteSources
from finality.adapters.sqlite.transaction import SqliteTransaction
from finality.core.errors import NotFound, VersionConflict
from finality.core.ids import NodeId, StreamName, Version, transaction_stream
from finality.core.protocol import Recorded
from finality.core.saga import Summary
from finality.core.saga.events import TakenOver
from finality.core.sourcing import Fact, split_type
from finality.ports.codec import Codec
from finality.ports.environment import Environment
from finality.ports.home import Birth, Head, NodeRow

CREATE = QUERIES["create"]
RENEW_HEAD = QUERIES["renew_head"]
STILL_IN_HAND = QUERIES["still_in_hand"]
LAST_VERSION = QUERIES["last_version"]
FOLLOW = QUERIES["follow"]
INSERT_EVENT = QUERIES["insert_event"]
INSERT_FACT = QUERIES["insert_fact"]
INSERT_TAG = QUERIES["insert_tag"]
UNLOCK_ALL = QUERIES["unlock_all"]


class SqliteHomeTransaction(SqliteTransaction):
    """Fulfils ``ports.home.HomeTransaction``."""

    def __init__(
        self, connection: apsw.Connection, environment: Environment, codec: Codec, names: Names
    ) -> None:
        super().__init__(connection, environment)
        self._codec = codec
        self._names = names
        self._are_locks: bool | None = None
        self.sources = SqliteSources(self, connection, codec, names)

    def start(self, *, is_guarded: bool = False) -> None:
        """Begin the transaction that the turns share."""
        super().start(is_guarded=is_guarded)
        self._names.keep()
        self._are_locks = None

    def undo_turn(self) -> bool:
        """Undo what the turn wrote."""
        is_undone = super().undo_turn()
        if is_undone:
            self._names.forget(self._connection)
        return is_undone

    def lose_all(self) -> None:
        """Hear that the whole transaction was aborted."""
        self._names.forget(self._connection)

    @property
    def node(self) -> NodeId | None:
        """Return the node that writes, once it has joined."""
        return self._names.own_id if self._names.own else None

    # ── The journal ─────────────────────────────────────────────────────────────────────────

    def create(self, birth: Birth, events: Sequence[Any], summary: Summary) -> int | None:
        """Begin a transaction's stream."""
        rows = self._codec.encode_events(events)
        definition = self._names.definition(self._connection, birth.kind, birth.definition)
        driver = self._names.node(self._connection, birth.driver) if birth.driver else None
        is_open = None if summary.has_ended else 1
        self._sql(
            CREATE,
            (
                transaction_stream(birth.id), len(rows), definition, summary.status, is_open,
                summary.wake_at, driver, birth.parent, self.at,
            ),
        )  # fmt: skip
        if not self._connection.changes():
            return None
        key = self._connection.last_insert_rowid()
        self._insert(key, 0, rows)
        return key

    def append(
        self, key: int, events: Sequence[Any], *, expected: Version, summary: Summary | None = None
    ) -> None:
        """Append to a transaction's stream."""
        rows = self._codec.encode_events(events)
        self._follow(key, expected, rows[0])
        if len(rows) > 1:
            self._insert(key, expected + 1, rows[1:])
        if summary is not None:
            self._renew_head(key, expected + len(events), summary)
            if summary.has_ended and self._may_hold_locks():
                self._sql(UNLOCK_ALL, (key,))

    def _renew_head(self, key: int, version: int, summary: Summary) -> None:
        if summary.wake_at is None and not summary.has_ended:
            # Most were in hand before: the index by which a node finds its work stays as it is.
            self._sql(STILL_IN_HAND, (version, summary.status, key))
            if self._connection.changes():
                return
        is_open = None if summary.has_ended else 1
        self._sql(RENEW_HEAD, (version, summary.status, is_open, summary.wake_at, key))

    def _follow(self, key: int, expected: int, row: tuple[str, bytes]) -> None:
        """Insert an event behind the last one, if that is the expected one."""
        type_name, data = row
        try:
            self._sql(FOLLOW, (key, expected, type_name, data, self.at, self._names.own))
        except apsw.ConstraintError:
            [(actual,)] = self._sql(LAST_VERSION, (key,)).fetchall()
            raise conflict(key, expected, actual or 0) from None
        if not self._is_guarded:
            self._has_written = True

    def append_to(self, stream: StreamName, events: Sequence[Any], *, expected: Version) -> Version:
        """Append to a stream that is no transaction."""
        rows = self._codec.encode_events(events)
        key = self.moved(stream, expected, len(rows))
        self._insert(key, expected, rows)
        return Version(expected + len(rows))

    def moved(self, stream: StreamName, expected: int, count: int, key: int | None = None) -> int:
        """Move a stream that is no transaction on by *count*, from nothing if need be; return its key.

        Args:
            key: It, if it is known; this spares a look.

        Raises:
            VersionConflict: It is not at *expected*.
        """
        if expected == 0:
            self._sql(QUERIES["create_plain"], (stream, count))
            key = self._connection.last_insert_rowid() if self._connection.changes() else None
        else:
            key = self._advanced(key or self._key(stream), expected, count)
        if key is None:
            raise self._conflict(self._key(stream), expected, stream)
        return key

    def insert(self, key: int, version: int, facts: Sequence[Fact]) -> None:
        """Put *facts* behind *version*."""
        at, own = self.at, self._names.own
        rows = [
            (key, number, fact.type, fact.data, at, own, fact.meta)
            for number, fact in enumerate(facts, version + 1)
        ]
        self.many(INSERT_FACT, rows)
        tags = [
            (tag, key, number, split_type(fact.type)[0])
            for number, fact in enumerate(facts, version + 1)
            for tag in fact.tags
        ]
        if tags:
            self.many(INSERT_TAG, tags)

    def _advanced(self, key: int | None, expected: int, count: int) -> int | None:
        self._sql(QUERIES["advance_plain"], (expected + count, key, expected))
        return key if self._connection.changes() else None

    def _key(self, stream: StreamName) -> int | None:
        row = self._row("stream", (stream,))
        return int(row[0]) if row else None

    def _insert(self, key: int, version: int, rows: list[tuple[str, bytes]]) -> None:
        if not self._is_guarded:
            self._has_written = True
        for number, (type_name, data) in enumerate(rows, version + 1):
            self._sql(INSERT_EVENT, (key, number, type_name, data, self.at, self._names.own))

    def _conflict(self, key: int | None, expected: int, stream: str = "") -> VersionConflict:
        row = self._row("version", (key,))
        return conflict(stream or key, expected, int(row[0]) if row else 0)

    def read(self, key: int, *, after: Version = Version(0)) -> list[Recorded]:
        """Return a transaction's events behind *after*."""
        rows = self._sql(QUERIES["read"], (key, after, -1)).fetchall()
        return [recorded_of(row, self._codec, self._names, self._connection) for row in rows]

    # ── Heads ───────────────────────────────────────────────────────────────────────────────

    def head(self, key: int) -> Head:
        """Return the head as this transaction sees it."""
        rows = self._sql(f"{HEADS} WHERE s.stream = ?", (key,)).fetchall()
        if not rows:
            raise NotFound(f"no transaction has the key {key}")
        return head_of(rows[0])

    def wake(self, key: int) -> None:
        """Let whoever drives the transaction look at it."""
        self.write("wake", (key,))

    def migrate(self, key: int, kind: str, definition: str) -> None:
        """Put the transaction under another version of its definition."""
        self.write("migrate", (self._names.definition(self._connection, kind, definition), key))

    def note(self, key: int, note: str | None) -> None:
        """Say at the head why no node can drive the transaction."""
        self.write("note", (note, key))

    def release(self, key: int, note: str) -> None:
        """Let go of a transaction that its node cannot drive, and say why."""
        self.write("release", (note, key))

    def set_wake(self, key: int, wake_at: float | None) -> None:
        """Renew the time at which the transaction wakes."""
        self.write("set_wake", (wake_at, key))

    def lock(self, key: int, resource: str) -> int | None:
        """Take a semantic lock."""
        self.write("lock", (resource, key, self.at))
        self._are_locks = True
        if self._connection.changes():
            return None
        held = self.lock_holder(resource)
        assert held is not None, f"{resource!r} could not be locked, so it is held"
        return None if held[0] == key else held[0]

    def lock_holder(self, resource: str) -> tuple[int, float] | None:
        """Return who holds a semantic lock, and since when."""
        row = self._row("lock_holder", (resource,))
        return (int(row[0]), float(row[1])) if row else None

    def _may_hold_locks(self) -> bool:
        """Say whether there is any lock, which is looked up once a commit: few sagas take one."""
        if self._are_locks is None:
            self._are_locks = self._row("any_lock", ()) is not None
        return self._are_locks

    def unlock_all(self, key: int) -> None:
        """Release the transaction's semantic locks."""
        self.write("unlock_all", (key,))

    def define(self, kind: str, definition: str, graph: str) -> None:
        """Keep the shape of a definition."""
        self.write("define", (kind, definition, graph))

    def guard(self) -> None:
        """See to it that what follows can be undone with the turn alone."""
        self._guard()

    def ask(self, name: str, parameters: tuple[Any, ...]) -> list[Any]:
        """Return the rows of one of our statements, as this transaction sees them."""
        rows: list[Any] = self._sql(QUERIES[name], parameters).fetchall()
        return rows

    def write(self, name: str, parameters: tuple[Any, ...]) -> None:
        """Run one of our statements, so that it can be undone with the turn."""
        self._guard()
        self._sql(QUERIES[name], parameters)

    # ── Nodes ───────────────────────────────────────────────────────────────────────────────

    def renew(self, node: NodeRow) -> None:
        """Enter the node or renew its lease."""
        drives = "\n".join(sorted(node.drives))
        self.write(
            "renew",
            (node.id, node.host, node.process, drives, node.joined_at, node.lease_until),
        )
        self._names.join(self._connection, node.id)

    def leave(self, node: NodeId) -> None:
        """End the node's lease and let go of its transactions."""
        self.let_go(node)
        self.write("leave", (node,))

    def let_go(self, node: NodeId, *, keep: Collection[int] = ()) -> None:
        """Let go of the node's transactions, but for those to *keep*."""
        self.write("let_go", (self._names.node(self._connection, node), json.dumps([*keep])))

    def claim_due(self, node: NodeId, now: float, *, limit: int) -> list[tuple[int, str]]:
        """Take the node's transactions whose time has come in hand."""
        driver = self._names.node(self._connection, node)
        due = self._sql(QUERIES["due"], (driver, now, limit)).fetchall()
        if due:
            self.write("claim_due", (json.dumps([key for key, _ in due]),))
        return [(int(key), str(kind)) for key, kind in due]

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
        own = self._names.node(self._connection, node)
        known = json.dumps(self._names.definitions(self._connection, drives))
        accepted = json.dumps(self._names.definitions(self._connection, accepts))
        dead = [row[0] for row in self._sql(QUERIES["dead_drivers"], (expired_before,)).fetchall()]
        taken = 0
        for driver in (None, *(key for key in dead if key != own)):
            previous = self._names.node_id(self._connection, driver or 0)
            event = self._codec.encode_events([TakenOver(node, previous)])
            self._guard()
            streams = self.ask("take", (own, driver, known, accepted, limit - taken))
            for key, version in streams:
                self._insert(key, version, event)
            taken += len(streams)
        return taken
