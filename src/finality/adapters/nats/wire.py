"""How events, topics and groups look on NATS.

| here | there |
| --- | --- |
| topic `shop.orders` | stream `shop=orders`: a dot is not allowed in its name |
| partition 3 of it | subject `shop.orders.3` |
| group `billing` of that | durable consumer `billing=3` |
| attributes | headers `ce-id`, `ce-source`, …, percent-encoded as in the HTTP binding |
| source and id | header `Nats-Msg-Id`, by which a repeat is known |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote

from finality.adapters.foreign import read_envelope
from finality.core.envelope import Envelope, attributes_of

PREFIX = "ce-"
CONTENT_TYPE = "content-type"
MESSAGE_ID = "Nats-Msg-Id"
PLAIN = re.compile(r"[!#$&-~]*")  # What CloudEvents leaves as it is: printable, but for space, quote and %.
PLAIN_CHARACTERS = "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
HEADER_BYTES = len("NATS/1.0\r\n\r\n")
LINE_BYTES = len(": \r\n")


def stream_of(topic: str) -> str:
    """Return the name of a topic's stream."""
    return topic.replace(".", "=")


def subject_of(topic: str, partition: int) -> str:
    """Return the subject of a partition."""
    return f"{topic}.{partition}"


def partition_in(subject: str) -> int:
    """Return the partition that a subject is of."""
    return int(subject.rpartition(".")[2])


def durable_of(group: str, partition: int) -> str:
    """Return the name of the consumer that keeps a group's place in a partition."""
    return f"{stream_of(group)}={partition}"


def headers_of(envelope: Envelope) -> dict[str, str]:
    """Return the headers of an event."""
    headers = {MESSAGE_ID: _written(f"{envelope.source}#{envelope.id}")}
    for name, value in attributes_of(envelope).items():
        headers[PREFIX + name] = _written(value)
    return headers


def bytes_of(headers: Mapping[str, str], data: bytes) -> int:
    """Return how many bytes the server will count."""
    lines = sum(map(len, headers)) + sum(map(len, headers.values())) + LINE_BYTES * len(headers)
    return HEADER_BYTES + lines + len(data)


def envelope_in(
    headers: Mapping[str, str] | None, data: bytes, *, topic: str, position: str, broker: str
) -> Envelope:
    """Return the envelope of an event that was delivered."""
    attributes = {}
    for name, value in (headers or {}).items():
        if name[: len(PREFIX)].lower() == PREFIX:
            attributes[name[len(PREFIX) :].lower()] = unquote(value)
        elif name.lower() == CONTENT_TYPE:  # Of the structured mode, and of others' events.
            attributes["datacontenttype"] = value
    return read_envelope(attributes, data, topic=topic, position=position, broker=broker)


class Place(NamedTuple):
    """What the server says of a delivery, in the subject on which it wants to hear of it."""

    sequence: int
    attempt: int


def place_of(reply: str) -> Place | None:
    """Return the place that the reply subject of a delivery names; None if it is of something else."""
    words = reply.split(".")
    if words[:2] != ["$JS", "ACK"]:
        return None
    behind = words[2:] if len(words) == 9 else words[4:]  # With a domain and an account in between.
    return Place(sequence=int(behind[3]), attempt=int(behind[2]))


def _written(value: str) -> str:
    return value if PLAIN.fullmatch(value) else quote(value, safe=PLAIN_CHARACTERS)
