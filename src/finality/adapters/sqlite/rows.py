"""From rows to values, and from ids to the short names that rows use for them.

Each row that is read on the event loop lets go of the interpreter, and the writer's thread takes it:
two hand-overs cost more than the row. So what is read by the hundred comes as JSON in one row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import apsw

from finality.adapters.sqlite.queries import QUERIES
from finality.core.ids import (
    TRANSACTION_PREFIX,
    NodeId,
    Position,
    StreamName,
    TransactionId,
    Version,
)
from finality.core.protocol import Recorded
from finality.core.sourcing import Fact, Snapshot, is_fact
from finality.ports.codec import Codec
from finality.ports.home import Head, NodeRow
from finality.ports.sources import Source

HEADS = f"SELECT {QUERIES['head_columns']} {QUERIES['head_tables']}"
HEADS_IN_ONE_ROW = f"SELECT json_group_array(json_array({QUERIES['head_columns']})) {QUERIES['head_tables']}"

Row = Sequence[Any]


class Names:
    """The short names of nodes and definitions, remembered: once committed, they never change.

    Attributes:
        own: The node that writes; 0 when none has joined.
        own_id: Its id, once it has.
    """

    def __init__(self) -> None:
        self.own = 0
        self.own_id: NodeId | None = None
        self._is_fresh = False
        self._nodes: dict[NodeId, int] = {}
        self._node_ids: dict[int, NodeId] = {}
        self._definitions: dict[tuple[str, str], int] = {}

    def join(self, connection: apsw.Connection, id: NodeId) -> None:
        """Make the node the one that writes."""
        self.own_id = id
        self.own = self.node(connection, id)

    def keep(self) -> None:
        """Hear that what was learned so far is committed."""
        self._is_fresh = False

    def forget(self, connection: apsw.Connection) -> None:
        """Hear that the names may be those of rows that were undone, so that others will get them."""
        if not self._is_fresh:
            return
        self._nodes.clear()
        self._node_ids.clear()
        self._definitions.clear()
        row = connection.execute(QUERIES["node_key"], (self.own_id,)).fetchone()
        self.own = int(row[0]) if row else 0

    def node(self, connection: apsw.Connection, id: NodeId) -> int:
        """Return the short name of a node that has joined."""
        key = self._nodes.get(id)
        if key is None:
            row = connection.execute(QUERIES["node_key"], (id,)).fetchone()
            assert row is not None, f"node {id} has not joined"
            key = self._nodes[id] = int(row[0])
            self._is_fresh = True
        return key

    def node_id(self, connection: apsw.Connection, key: int) -> NodeId:
        """Return the id of the node with a short name."""
        if key == 0:  # Written by no node: by a command line that only told it something.
            return NodeId("")
        if key not in self._node_ids:
            row = connection.execute(QUERIES["node_id"], (key,)).fetchone()
            if row is None:
                return NodeId("")
            self._node_ids[key] = NodeId(row[0])
            self._is_fresh = True
        return self._node_ids[key]

    def definition(self, connection: apsw.Connection, kind: str, version: str) -> int:
        """Return the short name of a definition that is kept."""
        key = self._definitions.get((kind, version))
        if key is None:
            row = connection.execute(QUERIES["definition_key"], (kind, version)).fetchone()
            assert row is not None, f"definition {kind}@{version} is not kept"
            key = self._definitions[kind, version] = int(row[0])
            self._is_fresh = True
        return key

    def definitions(self, connection: apsw.Connection, drives: frozenset[str]) -> list[int]:
        """Return the short names of those ``kind@version`` that are kept."""
        rows: list[Any] = connection.execute(QUERIES["definitions"]).fetchall()
        return [int(key) for key, kind, version in rows if f"{kind}@{version}" in drives]


def head_of(row: Row) -> Head:
    """Return the head that a row of ``HEADS`` stands for."""
    (key, name, kind, definition, version, status, is_open, wake_at, driver, *rest) = row
    started_at, updated_at, parent, note = rest
    id = TransactionId(name.removeprefix(TRANSACTION_PREFIX))
    return Head(
        key, id, kind, definition, Version(version), status, is_open is None, wake_at,
        None if driver is None else NodeId(driver), started_at, updated_at, parent, note,
    )  # fmt: skip


def heads_in(row: Row) -> list[Head]:
    """Return the heads that are in the row of ``HEADS_IN_ONE_ROW``."""
    return [head_of(head) for head in json.loads(row[0])]


def histories_in(row: Row) -> Iterator[tuple[int, str, bytes]]:
    """Yield the rows of ``histories`` that are in the row of ``histories_in_one_row``."""
    return ((key, type_name, bytes.fromhex(data)) for key, type_name, data in json.loads(row[0]))


def recorded_of(row: Row, codec: Codec, names: Names, connection: apsw.Connection) -> Recorded:
    """Return the event that a row of ``read`` or ``page`` stands for."""
    position, stream, version, type_name, data, at, node, meta = row
    event = Fact(type_name, data, meta) if is_fact(type_name) else codec.decode_event(type_name, data)
    by = names.node_id(connection, node)
    return Recorded(Position(position), StreamName(stream), Version(version), event, at, by)


def source_of(row: Row) -> Source:
    """Return the stream that a row of ``source`` or ``listed`` stands for."""
    key, name, version, status, *kept = row
    snapshot = Snapshot(Version(kept[0]), kept[1], kept[2]) if kept and kept[0] is not None else None
    return Source(key, StreamName(name), Version(version), status is not None, snapshot)


def node_of(row: Row) -> NodeRow:
    """Return the node that a row of ``nodes`` stands for."""
    id, host, process, drives, joined_at, lease_until = row
    return NodeRow(NodeId(id), host, process, frozenset(drives.split()), joined_at, lease_until)
