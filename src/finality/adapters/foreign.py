"""Events of producers that know nothing of CloudEvents, made up from what there is."""

from __future__ import annotations

from collections.abc import Mapping

from finality.core.envelope import BadEnvelope, Envelope, envelope_of

BYTES_TYPE = "application/octet-stream"


def read_envelope(
    attributes: Mapping[str, str], data: bytes, *, topic: str, position: str, broker: str
) -> Envelope:
    """Return the envelope of an event, made up where *attributes* are none of CloudEvents.

    Args:
        attributes: What the broker carries beside *data*, by the names of CloudEvents.
        position: Where the topic has it, which is the same at each delivery: the inbox knows it by that.
        broker: Stands for its source.
    """
    try:
        return envelope_of(attributes, data, topic=topic)
    except BadEnvelope:
        return Envelope(
            id=f"{topic}/{position}",
            source=broker,
            type=attributes.get("type", ""),
            topic=topic,
            data=data,
            content_type=attributes.get("datacontenttype", BYTES_TYPE),
        )
