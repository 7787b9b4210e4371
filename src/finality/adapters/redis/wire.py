"""How events and topics look in Redis.

| here | there |
| --- | --- |
| topic `shop.orders` | hash `finality:shop.orders`: its partitions, how long its events are kept |
| partition 3 of it | stream `finality:shop.orders:3` |
| group `billing` | group `billing` of each stream, with one consumer, `finality` |
| attributes and data | fields `ce-id`, `ce-source`, …, and `data` |
| ids that were published of late | sorted set `finality:shop.orders:3:ids`, by their time |
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping

from finality.adapters.foreign import read_envelope
from finality.core.envelope import Envelope, attributes_of

PREFIX = "ce-"
DATA = b"data"
CONSUMER = "finality"
LENGTH = struct.Struct(">I").pack

Fields = Mapping[bytes, bytes]


def topic_key(topic: str) -> str:
    """Return where a topic says what it is like."""
    return f"finality:{topic}"


def stream_key(topic: str, partition: int) -> str:
    """Return where the events of a partition are."""
    return f"finality:{topic}:{partition}"


def ids_key(topic: str, partition: int) -> str:
    """Return where the ids of a partition are that were published of late."""
    return f"finality:{topic}:{partition}:ids"


def packed(envelope: Envelope) -> bytes:
    """Return an event's id and fields as ``publish.lua`` reads them; one argument is sooner sent."""
    strings = [f"{envelope.source}#{envelope.id}".encode()]
    for name, value in attributes_of(envelope).items():
        strings += ((PREFIX + name).encode(), value.encode())
    strings += (DATA, envelope.data)
    parts = [LENGTH(len(strings))]
    for each in strings:
        parts += (LENGTH(len(each)), each)
    return b"".join(parts)


def envelope_in(fields: Fields, *, topic: str, position: str, broker: str) -> Envelope:
    """Return the envelope of an event that was read."""
    prefix = PREFIX.encode()
    attributes = {
        name[len(prefix) :].decode(): value.decode(errors="replace")
        for name, value in fields.items()
        if name.startswith(prefix)
    }
    return read_envelope(attributes, _data(fields), topic=topic, position=position, broker=broker)


def _data(fields: Fields) -> bytes:
    """Return what is certainly the data; of a foreign event, its only value, or all it has."""
    if DATA in fields:
        return fields[DATA]
    if len(fields) == 1:
        return next(iter(fields.values()))
    text = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in fields.items()}
    return json.dumps(text).encode()
