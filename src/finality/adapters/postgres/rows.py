"""From rows to values."""

from __future__ import annotations

from typing import Any

from finality.core.ids import TRANSACTION_PREFIX, NodeId, StreamName, TransactionId, Version
from finality.core.protocol import Recorded
from finality.core.sourcing import Fact, Snapshot, is_fact
from finality.ports.codec import Codec
from finality.ports.home import Head, NodeRow
from finality.ports.sources import Source

Row = Any  # asyncpg carries no types.


def head_of(row: Row) -> Head:
    """Return the head that a row of ``head_columns`` stands for."""
    (key, name, kind, definition, version, status, is_open, wake_at, driver, *rest) = row
    started_at, updated_at, parent, note = rest
    id = TransactionId(name.removeprefix(TRANSACTION_PREFIX))
    return Head(
        key, id, kind, definition, Version(version), status, is_open is None, wake_at,
        None if driver is None else NodeId(driver), started_at, updated_at, parent, note,
    )  # fmt: skip


def recorded_of(row: Row, codec: Codec) -> Recorded:
    """Return the event that a row of ``read`` or of a page stands for."""
    position, stream, version, type_name, data, at, by, meta = row
    event = Fact(type_name, data, meta) if is_fact(type_name) else codec.decode_event(type_name, data)
    return Recorded(position, stream, version, event, at, NodeId(by or ""))


def source_of(row: Row) -> Source:
    """Return the stream that a row of ``source`` or ``listed`` stands for."""
    key, name, version, status, *kept = row
    snapshot = Snapshot(Version(kept[0]), kept[1], kept[2]) if kept and kept[0] is not None else None
    return Source(key, StreamName(name), Version(version), status is not None, snapshot)


def node_of(row: Row) -> NodeRow:
    """Return the node that a row of ``nodes`` stands for."""
    id, host, process, drives, joined_at, lease_until = row
    return NodeRow(NodeId(id), host, process, frozenset(drives.split()), joined_at, lease_until)
