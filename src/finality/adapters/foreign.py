"""Events of other producers: in CloudEvents' binary or structured mode, or made up from what there is.

A batch of CloudEvents is made up, too, and has its content type: whoever runs its events takes it apart.
"""

from __future__ import annotations

from collections.abc import Mapping

from finality.core.envelope import (
    BATCH_TYPE,
    STRUCTURED_TYPE,
    BadEnvelope,
    Envelope,
    envelope_of,
    structured_envelope,
)

BYTES_TYPE = "application/octet-stream"


def read_envelope(
    attributes: Mapping[str, str], data: bytes, *, topic: str, position: str, broker: str
) -> Envelope:
    """Return the envelope of an event, made up where it is none of CloudEvents.

    Args:
        attributes: What the broker carries beside *data*, by the names of CloudEvents.
        position: Where the topic has it, which is the same at each delivery: the inbox knows it by that.
        broker: Stands for its source.
    """
    try:
        if _is_structured(attributes, data):
            return structured_envelope(data, topic=topic)
        return envelope_of(attributes, data, topic=topic)
    except BadEnvelope:
        return Envelope(
            id=f"{topic}/{position}",
            source=broker,
            type=attributes.get("type", ""),
            topic=topic,
            data=data,
            content_type=attributes.get("datacontenttype") or _guessed_type(data),
        )


def _is_structured(attributes: Mapping[str, str], data: bytes) -> bool:
    if "id" in attributes:
        return False
    content_type = attributes.get("datacontenttype")
    if content_type is None:  # Not every broker carries one.
        return b'"specversion"' in data
    return content_type.lower().startswith(STRUCTURED_TYPE)


def _guessed_type(data: bytes) -> str:
    is_batch = data.lstrip().startswith(b"[") and b'"specversion"' in data
    return BATCH_TYPE if is_batch else BYTES_TYPE
