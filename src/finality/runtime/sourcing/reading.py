"""From facts to events, and from events to a state."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from finality.core.errors import NotFound, Stuck
from finality.core.ids import Version
from finality.core.protocol import Recorded
from finality.core.sourcing import ARCHIVED, Archived, Fact, Meta, Snapshot, Upcaster, split_type, upcasted
from finality.ports.codec import Codec, DecodeError
from finality.ports.sources import Source
from finality.runtime.sourcing.kind import EventType, Kind, Loaded, placed

At = int | datetime | None
"""A moment in the past of a stream: a version, or a time."""


def usable(kind: Kind, source: Source | None, at: At) -> Snapshot | None:
    """Return the snapshot that a state at *at* may begin with; None to begin with nothing."""
    snapshot = source.snapshot if source is not None else None
    # When a snapshot was taken says nothing of when the events in it happened.
    if snapshot is None or snapshot.shape != kind.shape or isinstance(at, datetime):
        return None
    return None if at is not None and snapshot.version > at else snapshot


def folded(
    kind: Kind,
    id: str,
    source: Source | None,
    snapshot: Snapshot | None,
    events: Iterable[Recorded],
    at: At,
    codec: Codec,
) -> Any:
    """Return the aggregate that *events* make, behind a snapshot if there is one.

    Raises:
        DecodeError: The snapshot cannot be read: begin with nothing.
        NotFound: It has no such version.
        Stuck: An event cannot be read.
    """
    state, version = kind.empty(), Version(0)
    if snapshot is not None:
        state, version = codec.decode(snapshot.data, kind.cls), snapshot.version
    is_archived = source is not None and source.is_archived
    for recorded in events:
        if is_behind(recorded, at):
            break
        version = recorded.version
        if recorded.event.type == ARCHIVED:
            is_archived = True
            continue
        state = state.evolve(event_of(recorded, kind.types, codec))
    if isinstance(at, int) and version != at:
        raise NotFound(f"{kind.name} {id} has no version {at}: it is at version {version}")
    key = None if source is None else source.key
    return placed(state, Loaded(id, version, is_archived, at is not None, key))


def is_behind(recorded: Recorded, at: At) -> bool:
    """Say whether an event happened after *at*."""
    match at:
        case None:
            return False
        case int():
            return recorded.version > at
        case _:
            return recorded.at > at.timestamp()


def event_of(recorded: Recorded, types: Mapping[str, EventType], codec: Codec) -> Any:
    """Return the event that a fact stands for, in its shape of today.

    Raises:
        Stuck: It cannot be read.
    """
    fact = recorded.event
    assert isinstance(fact, Fact), f"{recorded.stream} holds facts, and {fact!r} is none"
    name, found = split_type(fact.type)
    known = types.get(name)
    try:
        if known is None:
            names = ", ".join(sorted(types))
            raise DecodeError(f"it is not among the events known here: {names}")
        if found == known.version:
            return codec.decode(fact.data, known.cls)
        if found > known.version:
            raise DecodeError(f"its version {found} is newer than this code's, {known.version}")
        return _upcasted(fact, known, known.upcasters or {}, found, codec)
    except DecodeError as error:
        raise Stuck(
            f"event {recorded.version} of {recorded.stream}, a {fact.type}, cannot be read: {error}; deploy "
            "the code that wrote it, or an upcaster that reads it",
            transaction_id=recorded.stream,
        ) from error


def _upcasted(
    fact: Fact, known: EventType, upcasters: Mapping[int, Upcaster], found: int, codec: Codec
) -> Any:
    try:
        fields = upcasted(upcasters, json.loads(fact.data), found=found, wanted=known.version)
    except Exception as error:  # Whatever the user's upcaster raises, the event cannot be read.
        raise DecodeError(f"an upcaster of {known.name} raised {error!r}") from error
    return codec.decode(json.dumps(fields).encode(), known.cls)


def told(recorded: Recorded, types: Mapping[str, EventType], codec: Codec) -> Recorded:
    """Return a recorded fact as its event, with what is known of it besides."""
    fact = recorded.event
    meta = codec.decode(fact.meta, Meta) if fact.meta is not None else None
    if fact.type == ARCHIVED:
        return replace(recorded, event=codec.decode(fact.data, Archived), meta=meta)
    event = event_of(recorded, types, codec)
    return replace(recorded, event=event, meta=meta)
