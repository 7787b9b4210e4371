"""The kinds of id, each with its own type, so that they cannot be mixed up in a call."""

from __future__ import annotations

from typing import NewType

TransactionId = NewType("TransactionId", str)
"""Names a transaction for ever; chosen by the caller or a time-ordered UUID."""

StreamName = NewType("StreamName", str)
"""Names a stream of the journal, such as ``transaction/trip-42``."""

NodeId = NewType("NodeId", str)
"""Names one run of one process that drives transactions."""

Version = NewType("Version", int)
"""A place in a stream: the number of events up to and including it; 0 is before the first."""

Position = NewType("Position", int)
"""An event's number in the whole journal; grows within a stream. Where to go on is a ``Cursor``'s to say."""

Cursor = NewType("Cursor", str)
"""Where a reader of the whole journal goes on. Only the store that gave it can read it."""

START = Cursor("")
"""Where a reader begins that wants everything."""

Json = NewType("Json", str)
"""A payload as JSON text. Core carries it and never looks inside."""

TRANSACTION_PREFIX = "transaction/"


def uuid7(milliseconds: int, chance: int) -> str:
    """Return a time-ordered UUID, so that new ids land on the same database page.

    Args:
        milliseconds: Since the Unix epoch, 48 bits.
        chance: 74 random bits.

    Source: RFC 9562, section 5.7.
    """
    time, variant = milliseconds & 0xFFFF_FFFF_FFFF, 0b10 << 14
    high, low = chance >> 62 & 0xFFF, chance & 0xFFFF_FFFF_FFFF
    # One formatting by %: cutting the digits into five costs half as much again.
    return "%08x-%04x-7%03x-%04x-%012x" % (  # noqa: UP031
        time >> 16, time & 0xFFFF, high, variant | chance >> 48 & 0x3FFF, low
    )  # fmt: skip


def transaction_stream(transaction_id: TransactionId) -> StreamName:
    """Return the name of the stream that a transaction is."""
    return StreamName(TRANSACTION_PREFIX + transaction_id)
