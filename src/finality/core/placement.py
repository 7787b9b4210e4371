"""Placement: which share of the work, or of the data, a key belongs to.

The number is part of what is stored: who wrote an event and who reads it, today and after an upgrade,
must place a key alike, so the function here never changes.
"""

from __future__ import annotations

from zlib import crc32


def partition_of(key: str, partitions: int) -> int:
    """Return the partition of *key*, from 0 up to *partitions*; the same in every process and version."""
    assert partitions > 0, f"{partitions} partitions hold nothing"
    return crc32(key.encode()) % partitions
