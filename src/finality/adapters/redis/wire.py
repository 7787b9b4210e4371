"""How events and topics look in Redis.

| here | there |
| --- | --- |
| topic `shop.orders` | hash `finality:shop.orders`: its partitions, how long its events are kept |
| partition 3 of it | stream `finality:shop.orders:3` |
| group `billing` | group `billing` of each stream, with one consumer, `finality` |
| attributes and data | fields `cloudevent`, a JSON object, and `data` |
| ids that were published of late | sorted set `finality:shop.orders:3:ids`, by their time |
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping

import msgspec

from finality.adapters.foreign import read_envelope
from finality.core.envelope import Envelope, attributes_of, envelope_of

ATTRIBUTES = b"cloudevent"
DATA = b"data"
CONSUMER = "finality"
LENGTH = struct.Struct(">I").pack

_encoded = msgspec.json.Encoder().encode  # Ten times as fast as the standard library's.
_decoded = msgspec.json.Decoder().decode

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
    name = f"{envelope.source}#{envelope.id}".encode()
    attributes = _encoded(attributes_of(envelope))
    data = envelope.data
    return b"".join((LENGTH(len(name)), name, LENGTH(len(attributes)), attributes, LENGTH(len(data)), data))


def envelope_in(fields: Fields, *, topic: str, position: str, broker: str) -> Envelope:
    """Return the envelope of an event that was read."""
    try:
        return envelope_of(_decoded(fields[ATTRIBUTES]), fields[DATA], topic=topic)
    except (KeyError, ValueError, TypeError, AttributeError):  # Somebody else's.
        return read_envelope({}, _data(fields), topic=topic, position=position, broker=broker)


def _data(fields: Fields) -> bytes:
    """Return what is certainly the data; of a foreign event, its only value, or all it has."""
    if DATA in fields:
        return fields[DATA]
    if len(fields) == 1:
        return next(iter(fields.values()))
    text = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in fields.items()}
    return json.dumps(text).encode()
