"""What AMQP carries of an envelope, as it is read: the binary mode of CloudEvents' binding for AMQP.

Attributes travel as application properties with the prefix ``cloudEvents:``, the content type as the property
of that name. ``cloudEvents_`` is understood, too.

Source: AMQP Protocol Binding for CloudEvents 1.0.2.
"""

from __future__ import annotations

from aiormq.abc import DeliveredMessage

from finality.adapters.foreign import read_envelope
from finality.core.envelope import Envelope

PREFIX = "cloudEvents:"
PREFIXES = (PREFIX, "cloudEvents_")
OFFSET = START = "x-stream-offset"  # Of a record, and where a consumer starts.
MARK = "finality-mark"  # Of what is no event: the beginning of a stream.


def offset_of(delivered: DeliveredMessage) -> int:
    """Return the place in its stream."""
    offset = (delivered.header.properties.headers or {})[OFFSET]
    assert isinstance(offset, int), f"{offset!r} is no place in a stream"
    return offset


def tag_of(delivered: DeliveredMessage) -> int:
    """Return what the node wants to hear, to send more."""
    assert delivered.delivery_tag is not None, "a record came without its tag"
    return delivered.delivery_tag


def is_mark(delivered: DeliveredMessage) -> bool:
    """Say whether it is no event."""
    return MARK in (delivered.header.properties.headers or {})


def envelope_from(delivered: DeliveredMessage, *, topic: str, partition: int, broker: str) -> Envelope:
    """Return the envelope of what was delivered; one that carries none is made up from what there is."""
    properties = delivered.header.properties
    attributes = {
        name[len(PREFIX) :]: str(value)
        for name, value in (properties.headers or {}).items()
        if name.startswith(PREFIXES)
    }
    if properties.content_type:
        attributes["datacontenttype"] = properties.content_type
    position = f"{partition}/{offset_of(delivered)}"
    return read_envelope(attributes, bytes(delivered.body), topic=topic, position=position, broker=broker)
