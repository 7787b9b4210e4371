"""An envelope as a record of Kafka, and back: the binary mode of CloudEvents' binding for Kafka.

Attributes travel as headers with the prefix ``ce_``, the content type as the header ``content-type``, the
key as the record's own.

Source: Kafka Protocol Binding for CloudEvents 1.0.2.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from itertools import chain
from typing import Protocol

from finality.adapters.foreign import read_envelope
from finality.core.envelope import Envelope, attributes_of

PREFIX = "ce_"
CONTENT_TYPE = "content-type"
RECORD_BYTES = 64  # More than the lengths and numbers of a record take.
HEADER_BYTES = 6  # More than the two lengths of a header take.
NAMES_MAX = 1_000  # That are remembered.

Headers = list[tuple[str, bytes]]


class Record(Protocol):
    """What the client says of a record."""

    partition: int
    offset: int
    value: bytes | None
    headers: Iterable[tuple[str, bytes]]


@functools.lru_cache(NAMES_MAX)
def _header(attribute: str) -> str:
    return CONTENT_TYPE if attribute == "datacontenttype" else PREFIX + attribute


@functools.lru_cache(NAMES_MAX)
def _attribute(header: str) -> str | None:
    if header.startswith(PREFIX):
        return header.removeprefix(PREFIX)
    return "datacontenttype" if header == CONTENT_TYPE else None


def headers_of(envelope: Envelope) -> Headers:
    """Return what travels beside the data."""
    return [(_header(name), value.encode()) for name, value in attributes_of(envelope).items()]


def bytes_of(envelope: Envelope, headers: Headers) -> int:
    """Return at least how many bytes the record has."""
    beside = sum(map(len, chain.from_iterable(headers))) + HEADER_BYTES * len(headers)
    return len(envelope.data) + 4 * len(envelope.key) + beside + RECORD_BYTES


def envelope_from(record: Record, *, topic: str, broker: str) -> Envelope:
    """Return the envelope of a record; one that carries none is made up from what there is."""
    attributes = {
        attribute: value.decode(errors="replace")
        for header, value in record.headers
        if (attribute := _attribute(header)) is not None
    }
    position = f"{record.partition}/{record.offset}"
    return read_envelope(attributes, record.value or b"", topic=topic, position=position, broker=broker)
