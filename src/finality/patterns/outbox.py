"""What is put into an outbox: an event, where it goes, and what it followed from.

```
    tx.publish(topic, event) ──▶ Published ──▶ row of the outbox ──relay──▶ Envelope ──▶ broker
                                     ▲
             Origin: the saga, transaction or event that it followed from
```
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from finality.adapters.opentelemetry.trace_context import current_traceparent
from finality.core.envelope import JSON_TYPE, RESERVED
from finality.core.errors import DefinitionError
from finality.ports.codec import Codec, DecodeError
from finality.ports.events import Published
from finality.ports.store import LocalTransaction
from finality.ports.topic_names import check_topic

CONTENT_TYPE = "datacontenttype"
CORRELATION = "correlationid"
TO_BE_SET = (CONTENT_TYPE, CORRELATION)  # Of the attributes that have a meaning here.
ATTRIBUTE = re.compile(r"[a-z0-9]{1,20}")  # As CloudEvents wants them: other systems take no others.
TOPICS_KEPT_MAX = 1_000  # Names that were found good; a program has some dozens.

checked_topic = lru_cache(TOPICS_KEPT_MAX)(check_topic)


class Origin(NamedTuple):
    """What the events of a transaction followed from.

    Attributes:
        correlation_id: The conversation that they are part of, such as a saga.
        causation_id: The saga, transaction or event that they followed from.
        traceparent: The span; None: the one that is current where they are published.
    """

    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None


NOWHERE = Origin()


def published(
    codec: Codec,
    topic: str,
    event: Any,
    *,
    key: str = "",
    headers: Mapping[str, str] | None = None,
    origin: Origin = NOWHERE,
) -> Published:
    """Return *event* as it is put into the outbox.

    Raises:
        DefinitionError: The topic or a header has no name that every broker could carry, or the
            content type is not known.
        TypeError: The event holds something that its content type cannot carry.
    """
    told = _checked(headers) if headers else {}
    try:
        data = codec.pack(event, told.get(CONTENT_TYPE, JSON_TYPE))
    except DecodeError as error:
        raise DefinitionError(f"a {type(event).__name__} cannot be published: {error}") from error
    traceparent = origin.traceparent or current_traceparent()
    if traceparent is not None:
        told["traceparent"] = traceparent
    if origin.correlation_id is not None:
        told.setdefault(CORRELATION, origin.correlation_id)
    if origin.causation_id is not None:
        told["causationid"] = origin.causation_id
    return Published(
        checked_topic(topic), key, type(event).__name__, data, json.dumps(told) if told else "{}"
    )


def put(local: LocalTransaction, event: Published, delay: timedelta | None) -> None:
    """Put *event* into the outbox, or keep it there until *delay* has passed."""
    local.publish(event, due_at=None if delay is None else local.at + delay.total_seconds())


def _checked(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        is_ours = name in RESERVED and name not in TO_BE_SET
        if is_ours or not ATTRIBUTE.fullmatch(name):
            why = "it is set by itself" if is_ours else "CloudEvents allows up to 20 of a-z and 0-9"
            raise DefinitionError(f"header {name!r} cannot be set: {why}; choose another name")
        if not isinstance(value, str):
            raise DefinitionError(f"header {name!r} is a {type(value).__name__}: write it as a string")
    return dict(headers)
