"""What a turn can do in a PostgreSQL home store: the journal, the heads and the nodes.

Appends are kept in memory and sent in one statement, at the end or before the first look at the database.
They trust the versions they were decided on; if the server finds one wrong, all run again and look first.

```
    turns that only append    append a b c ──────────────▶ one statement, by itself a transaction
    turns that look or write  append a ─ look ▶ BEGIN; a; the look ─ append b ─▶ b; COMMIT
```
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from finality.adapters.checks import conflict
from finality.adapters.engine import Stale
from finality.adapters.postgres.line import Line
from finality.adapters.postgres.names import Names
from finality.adapters.postgres.pending import Birthed, Event, Moved, Pending
from finality.adapters.postgres.queries import QUERIES
from finality.adapters.postgres.rows import head_of, recorded_of
from finality.adapters.postgres.session import said, state_of
from finality.adapters.postgres.sources import PostgresSources
from finality.adapters.postgres.transaction import RUN_AGAIN, PostgresTransaction, Signature
from finality.core.errors import NotFound
from finality.core.ids import NodeId, StreamName, Version, transaction_stream
from finality.core.protocol import Recorded
from finality.core.saga import Summary
from finality.core.saga.events import TakenOver
from finality.core.sourcing import Fact, split_type
from finality.ports.codec import Codec
from finality.ports.environment import Environment
from finality.ports.home import Birth, Head, NodeRow

NOWHERE = -1  # The version of a stream that is not there.
KEYS_AHEAD = 300  # Streams that begin without asking for a key each; what is left over is lost.
# How the server says that a stream was not where an append thought: behind that, or further on.
REFUSED = (("23502", "finality_line"), ("23505", "finality_event"))
SUSPECTS_MAX = 10_000  # Streams that are looked at first; when there are more, all are forgotten.


class PostgresHomeTransaction(PostgresTransaction):
    """Fulfils ``ports.home.HomeTransaction``."""

    def __init__(self, line: Line, environment: Environment, codec: Codec) -> None:
        super().__init__(line, environment)
        self._codec = codec
        self._kept = Pending()
        self._own = Pending()
        self._sent: Pending | None = None  # Of turns before, within the savepoint of this one.
        self._keys: list[int] = []
        self._suspects: set[int | str] = set()
        self._doubted: Pending | None = None  # Somewhere in it are new suspects.
        self._names = Names(self.look)
        self.node: NodeId | None = None
        self.sources = PostgresSources(self, codec)

    # ── Turns ───────────────────────────────────────────────────────────────────────────────

    def start(self, signature: Signature) -> None:
        """Begin the transaction that the turns share."""
        super().start(signature)
        self._kept, self._own, self._sent = Pending(), Pending(), None

    def keep_turn(self) -> None:
        """Keep what the turn wrote."""
        super().keep_turn()
        if self._own or self._own.versions or self._own.names:
            self._kept.take_in(self._own)
            self._kept.versions |= self._own.versions
            self._kept.names |= self._own.names
            self._own = Pending()
        self._sent = None
        self._names.is_fresh = False

    def undo_turn(self) -> bool:
        """Undo what the turn wrote."""
        if self.is_stale or not super().undo_turn():
            return False
        self._own = Pending()
        if self._names.is_fresh:
            self._names.forget()
        if self._sent is not None:  # It went with the savepoint, and is not this turn's to lose.
            self._sent.take_in(self._kept)
            self._kept, self._sent = self._sent, None
        return True

    def lose_all(self) -> None:
        """Forget short names that may be those of rows that were undone."""
        self._names.forget()

    def flush(self) -> None:
        """Send what is pending."""
        if self._kept:
            if self._is_guarded:
                self._sent = Pending() if self._sent is None else self._sent
                self._sent.take_in(self._kept)
            self._put(self._kept)
            self._kept.forget()
        if self._own:
            self._guard()
            self._put(self._own)
            self._own.forget()

    def sign(self) -> None:
        """Send what is pending with the signature."""
        if self.has_sent or self._kept:
            self._put(self._kept)
            self._kept.forget()

    def _put(self, pending: Pending) -> None:
        self.has_sent = True
        try:
            if pending.tags:
                self._ask("share_tags", [tag for tag, *_ in pending.tags])
            self.take_keys(self._ask("append", *self._parameters(pending)))
        except Exception as error:
            if self.is_refused(error, pending) or state_of(error).startswith(RUN_AGAIN):
                self.is_stale = True
                raise Stale(said(error)) from error
            raise

    def whole(self) -> tuple[Pending, list[Any]] | None:
        """Return what is pending, and the parameters of ``append``, if that is the whole transaction."""
        if self.has_begun or not self._kept or self._kept.tags:
            return None
        return self._kept, self._parameters(self._kept)

    def _parameters(self, pending: Pending) -> list[Any]:
        wanted = max(KEYS_AHEAD, 4 * len(pending.born)) if pending.born else 0
        missing = wanted - len(self._keys) if 2 * len(self._keys) < wanted else 0
        return [*self._signature, self.at, self.node, missing, *pending.parameters()]

    def take_keys(self, rows: Sequence[Any]) -> None:
        """Keep the keys that ``append`` has brought back, behind those that are left."""
        self._keys[:0] = rows[0][0][::-1]

    def is_refused(self, error: BaseException, pending: Pending) -> bool:
        """Say whether the server has refused *pending*, which is looked into if so."""
        is_so = (state_of(error), getattr(error, "table_name", None)) in REFUSED
        if is_so:
            self._doubted = Pending()
            self._doubted.take_in(pending)
        return is_so

    def _is_suspect(self, stream: int | str) -> bool:
        """Say whether an append to a stream, or one that would have begun it, was wrong before."""
        doubted, self._doubted = self._doubted, None
        if doubted is not None:
            if len(self._suspects) > SUSPECTS_MAX:
                self._suspects.clear()
            found = self._ask("misplaced", *doubted.places())
            self._suspects.update(key if name is None else name for key, name in found)
        return stream in self._suspects

    def look(self, query: str, *parameters: Any) -> Sequence[Any]:
        """Ask the database, as this very transaction sees it."""
        self.flush()
        return self._ask(query, *parameters)

    def write(self, query: str, *parameters: Any) -> Sequence[Any]:
        """Run a statement of ours that writes, behind what is pending."""
        self.flush()
        return self._send(query, *parameters)

    # ── The journal ─────────────────────────────────────────────────────────────────────────

    def create(self, birth: Birth, events: Sequence[Any], summary: Summary) -> int | None:
        """Begin a transaction's stream."""
        name = transaction_stream(birth.id)
        rows = self._codec.encode_events(events)
        if name in self._kept.names or name in self._own.names:
            return None
        if self._is_suspect(name) and self.look("find_stream", name):
            return None
        key = self._next_key()
        definition = self._names.definition(birth.kind, birth.definition)
        driver = self._names.node(birth.driver) if birth.driver else None
        self._own.born[key] = Birthed(name, definition, driver, birth.parent)
        self._own.names[name] = key
        self._advance(key, 0, rows, summary)
        return key

    def append(
        self, key: int, events: Sequence[Any], *, expected: Version, summary: Summary | None = None
    ) -> None:
        """Append to a transaction's stream."""
        rows = self._codec.encode_events(events)
        actual = self._version(key)
        if actual is not None and actual != expected:
            raise conflict(key, expected, max(actual, 0))
        self._advance(key, expected, rows, summary)

    def _advance(
        self, key: int, expected: int, rows: list[tuple[str, bytes]], summary: Summary | None
    ) -> None:
        own, version = self._own, expected + len(rows)
        own.advance(key, expected, version)
        own.events += self._numbered(key, expected, rows)
        if summary is not None:
            is_open = None if summary.has_ended else True
            own.renew(key, Moved(version, summary.status, is_open, summary.wake_at))

    def _numbered(self, key: int, version: int, rows: list[tuple[str, bytes]]) -> list[Event]:
        return [(key, version + n, type_, data, None) for n, (type_, data) in enumerate(rows, 1)]

    def _version(self, key: int) -> int | None:
        """Return where a stream is, if this transaction knows or has reason to doubt."""
        version = self._own.versions.get(key)
        if version is None:
            version = self._kept.versions.get(key)
        if version is None and self._is_suspect(key):
            version = self._locked(key)
        return version

    def append_to(self, stream: StreamName, events: Sequence[Any], *, expected: Version) -> Version:
        """Append to a stream that is no transaction."""
        rows = self._codec.encode_events(events)
        key = self.moved(stream, expected, len(rows))
        self._own.events += self._numbered(key, expected, rows)
        return Version(expected + len(rows))

    def moved(self, stream: StreamName, expected: int, count: int, key: int | None = None) -> int:
        """Move a stream that is no transaction on by *count*, from nothing if need be; return its key.

        Args:
            key: It, if it is known; this spares a look.

        Raises:
            VersionConflict: It is not at *expected*.
        """
        key = key or self._own.names.get(stream) or self._kept.names.get(stream)
        if key is None and (expected > 0 or self._is_suspect(stream)):
            found = self.look("find_stream", stream)
            if found:
                key = int(found[0][0])
                self._locked(key)
        if key is None:
            if expected > 0:
                raise conflict(stream, expected, 0)
            key = self._next_key()
            self._own.born[key] = Birthed(stream)
        self._own.names[stream] = key
        actual = self._version(key)
        if actual is not None and actual != expected:
            raise conflict(stream, expected, max(actual, 0))
        self._own.advance(key, expected, expected + count)
        self._own.renew(key, Moved(expected + count))
        return key

    def insert(self, key: int, version: int, facts: Sequence[Fact]) -> None:
        """Put *facts* behind *version*."""
        own = self._own
        for number, fact in enumerate(facts, version + 1):
            own.events.append((key, number, fact.type, fact.data, fact.meta))
            if fact.tags:
                name = split_type(fact.type)[0]
                own.tags += [(tag, key, number, name) for tag in fact.tags]

    def is_locked(self, key: int) -> bool:
        """Keep others from moving a stream if an append to it was wrong before; say whether it was."""
        is_suspect = self._is_suspect(key)
        if is_suspect:
            self._locked(key)
        return is_suspect

    def read(self, key: int, *, after: Version = Version(0)) -> list[Recorded]:
        """Return a transaction's events behind *after*."""
        self._lock(key)
        told = [recorded_of(row, self._codec) for row in self._ask("read", key, after, None)]
        if told:
            self._own.versions[key] = told[-1].version
        return told

    # ── Heads ───────────────────────────────────────────────────────────────────────────────

    def _lock(self, key: int) -> None:
        """Keep others from changing the row of a stream that is looked at: what it says shall hold.

        They may still append to a transaction, if its head stays as it is: then what was decided on
        its events is refused, and decided again.
        """
        self.look("lock_key", key)

    def _locked(self, key: int) -> int:
        """Lock the row of a stream; return where the stream is."""
        self._lock(key)
        # A statement of its own: it sees what was committed while the one before it waited.
        found = self._ask("last_version", key)[0][0]
        version = self._own.versions[key] = NOWHERE if found is None else int(found)
        return version

    def head(self, key: int) -> Head:
        """Return the head as this transaction sees it."""
        self._lock(key)
        found = self._fetch(QUERIES["head_columns"] + " WHERE s.stream = $1", key)
        if not found:
            raise NotFound(f"no transaction has the key {key}")
        head = head_of(found[0])
        self._own.versions[key] = head.version
        return head

    def wake(self, key: int) -> None:
        """Let whoever drives the transaction look at it."""
        self.set_wake(key, 0.0)

    def set_wake(self, key: int, wake_at: float | None) -> None:
        """Renew the time at which the transaction wakes."""
        self._own.set_wake(key, wake_at)

    def migrate(self, key: int, kind: str, definition: str) -> None:
        """Put the transaction under another version of its definition."""
        self.write("migrate", key, self._names.definition(kind, definition))

    def note(self, key: int, note: str | None) -> None:
        """Say at the head why no node can drive the transaction."""
        self.write("note", key, note)

    def release(self, key: int, note: str) -> None:
        """Let go of a transaction that its node cannot drive, and say why."""
        self.write("release", key, note)

    def lock(self, key: int, resource: str) -> int | None:
        """Take a semantic lock."""
        if self.write("lock", resource, key, self.at):
            return None
        held = self.lock_holder(resource)
        if held is None:  # It was released since.
            return self.lock(key, resource)
        return None if held[0] == key else held[0]

    def lock_holder(self, resource: str) -> tuple[int, float] | None:
        """Return who holds a semantic lock, and since when."""
        found = self.look("lock_holder", resource)
        return (int(found[0][0]), float(found[0][1])) if found else None

    def unlock_all(self, key: int) -> None:
        """Release the transaction's semantic locks."""
        self.write("unlock_all", [key])

    def define(self, kind: str, definition: str, graph: str) -> None:
        """Keep the shape of a definition."""
        self.write("define", kind, definition, graph)

    # ── Nodes ───────────────────────────────────────────────────────────────────────────────

    def renew(self, node: NodeRow) -> None:
        """Enter the node or renew its lease."""
        drives = "\n".join(sorted(node.drives))
        self.write("renew", node.id, node.host, node.process, drives, node.joined_at, node.lease_until)
        self.node = node.id

    def leave(self, node: NodeId) -> None:
        """End the node's lease and let go of its transactions."""
        self.let_go(node)
        self.write("leave", node)

    def let_go(self, node: NodeId, *, keep: Collection[int] = ()) -> None:
        """Let go of the node's transactions, but for those to *keep*."""
        self.write("let_go", self._names.node(node), [*keep])

    def claim_due(self, node: NodeId, now: float, *, limit: int) -> list[tuple[int, str]]:
        """Take the node's transactions whose time has come in hand."""
        due = self.write("claim_due", self._names.node(node), now, limit)
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
        own = self._names.node(node)
        known, accepted = self._names.definitions(drives), self._names.definitions(accepts)
        dead = [tuple(row) for row in self.look("dead_drivers", expired_before)]
        taken = 0
        for driver, previous in ((None, NodeId("")), *((key, id) for key, id in dead if key != own)):
            event = self._codec.encode_events([TakenOver(node, previous)])[0]
            streams = self.write(
                "take", own, driver, known, accepted, limit - taken, *event, self.at, self.node
            )
            taken += len(streams)
        return taken

    def _next_key(self) -> int:
        if not self._keys:
            self._keys = [row[0] for row in self._ask("keys", KEYS_AHEAD)][::-1]
        return self._keys.pop()
