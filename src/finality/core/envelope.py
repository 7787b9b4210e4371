"""An envelope: an event on its way, with the attributes of CloudEvents 1.0 and what ties it to a transaction.

```
   outbox row ──▶ Envelope ──attributes──▶ headers of a broker's event ──▶ Envelope ──▶ reaction
                      └───────data───────▶ its body, as it is ────────────────┘
```

This is the *binary* mode of CloudEvents: data stays what the user's own codec made of it, and the
attributes travel beside it, each broker's binding with its own prefix (``ce-``, ``ce_``, ``cloudEvents:``).
What others send in the *structured* mode, as one JSON object with attributes and data in it, is read, too,
and so is their *batched* mode, a JSON array of such objects.

Source: CloudEvents 1.0.2, with its extensions *partitioning* and *distributed tracing*; correlation
and causation ids as in Enterprise Integration Patterns, G. Hohpe and B. Woolf, 2003.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from math import floor
from types import MappingProxyType
from typing import Any, NamedTuple

SPECVERSION = "1.0"
JSON_TYPE = "application/json"
STRUCTURED_TYPE = "application/cloudevents+json"
BATCH_TYPE = "application/cloudevents-batch+json"
NONE: Mapping[str, str] = MappingProxyType({})
SECONDS_KNOWN = 1_000  # As text: events of one second come together.


class BadEnvelope(ValueError):
    """What came is no event that CloudEvents 1.0 allows; the text says why."""


class Envelope(NamedTuple):  # A tuple: each event is some five of them on its way, and they are cheap.
    """An event with its address.

    Attributes:
        id: With *source* it names the event for ever: the inbox knows it again by both.
        source: Who says so, a URI reference: the store that it was published in.
        type: The event's type name.
        topic: Where it goes; no attribute of CloudEvents, the broker carries it.
        key: Events of one key keep their order; empty: no order is wanted.
        time: When it was published, in seconds since the Unix epoch.
        data: The event itself, encoded.
        traceparent: The span that published it, as W3C Trace Context writes it.
        correlation_id: The conversation that it is part of, such as one run of a choreography.
        causation_id: The event or transaction that it followed from.
        extensions: Further attributes, names of lower-case letters and digits.
    """

    id: str
    source: str
    type: str
    topic: str
    data: bytes
    key: str = ""
    time: float = 0.0
    content_type: str = JSON_TYPE
    traceparent: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    extensions: Mapping[str, str] = NONE


# Our fields that are optional attributes, by the names that CloudEvents gives or allows.
OPTIONAL = {
    "partitionkey": "key",
    "datacontenttype": "content_type",
    "traceparent": "traceparent",
    "correlationid": "correlation_id",
    "causationid": "causation_id",
}
RESERVED = frozenset({"specversion", "id", "source", "type", "time", "data", *OPTIONAL})


def attributes_of(envelope: Envelope) -> dict[str, str]:
    """Return the attributes as CloudEvents names and writes them; none is empty."""
    id, source, type, _, _, key, time, content_type, trace, correlation, causation, extensions = envelope
    attributes = {
        "specversion": SPECVERSION, "id": id, "source": source, "type": type, "time": written_time(time)
    }  # fmt: skip
    if key:
        attributes["partitionkey"] = key
    if content_type:
        attributes["datacontenttype"] = content_type
    if trace:
        attributes["traceparent"] = trace
    if correlation:
        attributes["correlationid"] = correlation
    if causation:
        attributes["causationid"] = causation
    if extensions:
        attributes.update(extensions)
    return attributes


def envelope_of(attributes: Mapping[str, str], data: bytes, *, topic: str) -> Envelope:
    """Return the envelope that *attributes* and *data* stand for.

    Raises:
        BadEnvelope: A required attribute is missing, or one is not what CloudEvents allows.
    """
    known = attributes.get
    id, source, type, time = known("id"), known("source"), known("type"), known("time")
    if not (id and source and type and known("specversion") == SPECVERSION):
        raise BadEnvelope(_lack(attributes))
    return Envelope(
        id, source, type, topic, data,
        known("partitionkey", ""),
        read_time(time) if time else 0.0,
        known("datacontenttype", JSON_TYPE),
        known("traceparent"),
        known("correlationid"),
        known("causationid"),
        NONE
        if attributes.keys() <= RESERVED
        else {name: value for name, value in attributes.items() if name not in RESERVED},
    )  # fmt: skip


def _lack(attributes: Mapping[str, str]) -> str:
    """Return what keeps attributes from being those of an event."""
    missing = [name for name in ("id", "source", "specversion", "type") if not attributes.get(name)]
    if missing:
        return f"it has no {' and no '.join(missing)}, which CloudEvents requires"
    return f"it is of CloudEvents {attributes['specversion']}, and {SPECVERSION} is understood"


def structured_envelope(text: bytes, *, topic: str) -> Envelope:
    """Return the envelope that *text* is, in the JSON format of CloudEvents' structured mode.

    Raises:
        BadEnvelope: It is no JSON object, or not what CloudEvents allows.
    """
    try:
        event = json.loads(text)
    except ValueError as error:
        raise BadEnvelope(f"it is no event in the JSON format of CloudEvents: {error}") from None
    return _structured(event, topic)


def batched_envelopes(batch: Envelope) -> list[Envelope]:
    """Return the events of a *batch*, the JSON format of CloudEvents' batched mode.

    One that is not what CloudEvents allows is made up from what there is, as if it had come alone.

    Raises:
        BadEnvelope: It is no JSON array.
    """
    try:
        events = json.loads(batch.data)
    except ValueError as error:
        raise BadEnvelope(f"it is no batch in the JSON format of CloudEvents: {error}") from None
    if not isinstance(events, list):
        raise BadEnvelope("it is no batch in the JSON format of CloudEvents: it is no array")
    return [_one_of(batch, number, event) for number, event in enumerate(events)]


def _one_of(batch: Envelope, number: int, event: Any) -> Envelope:
    written = _written_data(event, JSON_TYPE)
    try:
        return _structured(event, batch.topic)
    except BadEnvelope:
        return batch._replace(id=f"{batch.id}/{number}", data=written, content_type=JSON_TYPE)


def _structured(event: Any, topic: str) -> Envelope:
    """Return the envelope that an object in the JSON format is."""
    try:
        data = base64.b64decode(event.pop("data_base64", ""), validate=True)
    except (ValueError, TypeError, AttributeError) as error:
        raise BadEnvelope(f"it is no event in the JSON format of CloudEvents: {error}") from None
    if "data" in event:
        data = _written_data(event.pop("data"), event.get("datacontenttype") or JSON_TYPE)
    attributes = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in event.items()
        if value is not None
    }
    return envelope_of(attributes, data, topic=topic)


def _written_data(data: Any, content_type: str) -> bytes:
    """Return *data* as the binary mode carries it: JSON as JSON, text as it is."""
    subtype = content_type.partition(";")[0].strip().lower().rpartition("/")[2]
    if isinstance(data, str) and subtype != "json" and not subtype.endswith("+json"):
        return data.encode()
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()


def written_time(seconds: float) -> str:
    """Return a time as RFC 3339 writes it, in UTC, to the microsecond."""
    second = floor(seconds)
    microseconds = round((seconds - second) * 1e6)
    if microseconds == 1_000_000:
        second, microseconds = second + 1, 0
    return f"{_written_second(second)}.{microseconds:06d}Z"


@lru_cache(SECONDS_KNOWN)
def _written_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat()[:-6]


def read_time(text: str) -> float:
    """Return the seconds since the Unix epoch that *text* means.

    Raises:
        BadEnvelope: It is no time as RFC 3339 writes it.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadEnvelope(f"its time is {text!r}, which is none of RFC 3339") from None
    if moment.tzinfo is None:
        raise BadEnvelope(f"its time is {text!r}, which says no zone")
    return moment.timestamp()
