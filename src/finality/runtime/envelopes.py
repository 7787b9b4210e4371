"""An event on its way through a node: a row of the outbox, an envelope, or parked, each from the other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from finality.core.envelope import (
    BATCH_TYPE,
    JSON_TYPE,
    NONE,
    OPTIONAL,
    RESERVED,
    BadEnvelope,
    Envelope,
    attributes_of,
    batched_envelopes,
    envelope_of,
)
from finality.ports.events import OutboxRow, Parked

SCHEMA = "dataschema"

_plain = tuple.__new__


class BadRow(ValueError):
    """A foreign writer's row is no event; the text says why, *envelope* is what there is of it."""

    def __init__(self, why: str, envelope: Envelope) -> None:
        super().__init__(why)
        self.envelope = envelope


def events_in(envelope: Envelope) -> Sequence[Envelope]:
    """Return the events that came as one: those of a stranger's batch, or it alone."""
    # An event with a type of its own may have a batch for its data, which is then the user's.
    if envelope.type or not envelope.content_type.lower().startswith(BATCH_TYPE):
        return (envelope,)
    try:
        return batched_envelopes(envelope)
    except BadEnvelope:
        return (envelope,)


def envelope_of_row(row: OutboxRow, source: str) -> Envelope:
    """Return the envelope that a row of the outbox is.

    Raises:
        BadRow: It has no type, or its headers are no JSON object of strings.
    """
    _, id, topic, key, type, data, written, at = row
    if written == "{}" and type and isinstance(data, bytes):  # Most are, and this is half as much work.
        return _plain(Envelope, (id, source, type, topic, data, key, at, JSON_TYPE, None, None, None, NONE))
    if not isinstance(data, bytes):  # SQLite stores what it is given, whatever its column says.
        data = str(data).encode()
    plain = Envelope(id, source, type or "unknown", topic, data, key, at)
    if not type:
        raise BadRow("its row names no type, which CloudEvents requires", plain)
    try:
        headers: Any = json.loads(written)
    except ValueError:
        headers = None
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise BadRow("the headers of its row are no JSON object of strings", plain)
    known = {ours: headers[name] for name, ours in OPTIONAL.items() if name in headers and ours != "key"}
    extensions = {name: value for name, value in headers.items() if name not in RESERVED}
    return plain._replace(extensions=extensions, **known)


def with_schema(event: Envelope, schemas: str) -> Envelope:
    """Return *event* once it names its schema, if it is JSON: the file of its topic and type below a URI."""
    if SCHEMA in event.extensions or event.content_type != JSON_TYPE:
        return event
    named = {SCHEMA: f"{schemas}/{quote(event.topic)}/{quote(event.type)}.json"}
    return event._replace(extensions={**event.extensions, **named})


def parked_of(event: Envelope, reader: str, because: str, now: float) -> Parked:
    """Return *event* as it is parked by a reader, until a person says what to do."""
    return Parked(
        place=0,
        reader=reader,
        topic=event.topic,
        key=event.key,
        id=event.id,
        attributes=json.dumps(attributes_of(event)),
        data=event.data,
        because=because,
        attempts=1 if because else 0,
        parked_at=now,
        retry_at=None,
    )


def envelope_of_parked(parked: Parked) -> Envelope:
    """Return the event that was parked.

    Raises:
        BadEnvelope: Its attributes are not what CloudEvents allows.
    """
    return envelope_of(json.loads(parked.attributes), parked.data, topic=parked.topic)
