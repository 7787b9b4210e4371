"""An event as the frames of AMQP that publish it: the client's own encoder takes five times as long.

```
   method   basic.publish: exchange, routing key, mandatory      the same for all of a partition
   header   how long the data is, and the properties
   body     the data, in pieces of what the node takes at most
```

Source: Advanced Message Queuing Protocol 0-9-1, 2008, sections 2.3.5 and 4.2.
"""

from __future__ import annotations

import struct
from functools import lru_cache

from aio_pika import DeliveryMode
from aiormq import spec
from aiormq.abc import ChannelFrame

from finality.adapters.rabbitmq.wire import PREFIX
from finality.core.envelope import Envelope, attributes_of

PLACES_KNOWN = NAMES_KNOWN = 1_024
SHORT_BYTES_MAX = 255  # Of a name, an id or a content type.

_BASIC = 60  # The class of what is published.
_CONTENT_TYPE, _HEADERS, _DELIVERY_MODE, _MESSAGE_ID = 1 << 15, 1 << 13, 1 << 12, 1 << 7
_HEADER, _BODY, _END = 2, 3, b"\xce"

_frame = struct.Struct(">BHI").pack
_content = struct.Struct(">HHQH").pack
_long = struct.Struct(">I").pack


def frames_of(envelope: Envelope, partition: int, *, channel: int, piece_bytes: int) -> bytes:
    """Return what publishes an event; it is on disk before it counts, and comes back if there is no queue.

    Args:
        piece_bytes: Of the data, in a frame: what the node takes at most.

    Raises:
        ValueError: A name, the id or the content type is longer than AMQP allows.
    """
    data = envelope.data
    flags, properties = _properties(envelope)
    header = _content(_BASIC, 0, len(data), flags) + properties
    frames = [
        _publish(channel, envelope.topic, partition),
        _frame(_HEADER, channel, len(header)),
        header,
        _END,
    ]
    for begin in range(0, len(data), piece_bytes):
        piece = data[begin : begin + piece_bytes]
        frames += (_frame(_BODY, channel, len(piece)), piece, _END)
    return b"".join(frames)


@lru_cache(PLACES_KNOWN)
def _publish(channel: int, topic: str, partition: int) -> bytes:
    publish = spec.Basic.Publish(exchange=topic, routing_key=str(partition), mandatory=True)
    return ChannelFrame.marshall(channel, [publish]).payload


def _properties(envelope: Envelope) -> tuple[int, bytes]:
    """Return which properties there are, and what they are, in the order of their flags."""
    attributes = attributes_of(envelope)
    content_type = attributes.pop("datacontenttype", None)
    table = b"".join([_name(name) + _text(value) for name, value in attributes.items()])
    flags = _HEADERS | _DELIVERY_MODE | _MESSAGE_ID
    rest = (_long(len(table)), table, bytes((DeliveryMode.PERSISTENT,)), _short(envelope.id))
    if content_type is None:
        return flags, b"".join(rest)
    return flags | _CONTENT_TYPE, b"".join((_short(content_type), *rest))


@lru_cache(NAMES_KNOWN)
def _name(attribute: str) -> bytes:
    """Return the name of a field that is a text."""
    return _short(PREFIX + attribute) + b"S"


def _text(value: str) -> bytes:
    encoded = value.encode()
    return _long(len(encoded)) + encoded


def _short(text: str) -> bytes:
    encoded = text.encode()
    if len(encoded) > SHORT_BYTES_MAX:
        raise ValueError(f"{text[:40]!r}… has more than {SHORT_BYTES_MAX} bytes")
    return bytes((len(encoded),)) + encoded
