"""From facts to events, and from events to a state."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from finality.core.errors import NotFound, Stuck
from finality.core.ids import Version
from finality.core.protocol import Recorded
from finality.core.sourcing import (
    ARCHIVED,
    FORGOTTEN_PREFIX,
    Archived,
    Forgotten,
    Meta,
    Snapshot,
    split_type,
    upcasted,
)
from finality.ports.codec import Codec, DecodeError
from finality.ports.sources import CommittedSources, Source
from finality.runtime.sourcing.kind import EventType, Kind, Loaded, placed

At = int | datetime | None
"""A moment in the past of a stream: a version, or a time."""

Read = Callable[[bytes], Any]

FORGOTTEN = Forgotten.__name__


def usable(kind: Kind, source: Source | None, at: At) -> Snapshot | None:
    """Return the snapshot that a state at *at* may begin with; None to begin with nothing."""
    snapshot = source.snapshot if source is not None else None
    # When a snapshot was taken says nothing of when the events in it happened.
    if snapshot is None or snapshot.shape != kind.shape or isinstance(at, datetime):
        return None
    return None if at is not None and snapshot.version > at else snapshot


class Folding:
    """An aggregate in the making: pages of its events go in, so that no more than one is in memory.

    Raises:
        DecodeError: The snapshot cannot be read: begin with nothing.
    """

    def __init__(
        self, kind: Kind, id: str, source: Source | None, snapshot: Snapshot | None, at: At, codec: Codec
    ) -> None:
        self._kind, self._id, self._source, self._at = kind, id, source, at
        self._known = KnownEvents(kind.types, codec)
        self._is_archived = source is not None and source.is_archived
        self._end = Version(0) if source is None else source.version
        self._state, self.version = kind.empty(), Version(0)
        if snapshot is not None:
            self._state, self.version = codec.decode(snapshot.data, kind.cls), snapshot.version

    @property
    def rest(self) -> Source | None:
        """Return the stream to read on from, behind ``version``; None when it has all that it wants."""
        return self._source if self.version < self._end else None

    def take(self, events: Iterable[Recorded]) -> None:
        """Take the next events.

        Raises:
            Stuck: One cannot be read.
        """
        for recorded in events:
            if is_behind(recorded, self._at):
                self._end = self.version
                return
            self.version = recorded.version
            if recorded.event.type == ARCHIVED:
                self._is_archived = True
            else:
                self._state = self._state.evolve(self._known.read(recorded))

    def aggregate(self) -> Any:
        """Return the aggregate.

        Raises:
            NotFound: It has no such version.
        """
        at, name = self._at, self._kind.name
        if isinstance(at, int) and self.version != at:
            raise NotFound(f"{name} {self._id} has no version {at}: it is at version {self.version}")
        key = None if self._source is None else self._source.key
        return placed(self._state, Loaded(self._id, self.version, self._is_archived, at is not None, key))


async def pages(sources: CommittedSources, source: Source) -> AsyncIterator[list[Recorded]]:
    """Yield all events of a stream, some at a time."""
    version = Version(0)
    while version < source.version:
        page = await sources.read(source, after=version)
        yield page
        version = page[-1].version


def is_behind(recorded: Recorded, at: At) -> bool:
    """Say whether an event happened after *at*."""
    match at:
        case None:
            return False
        case int():
            return recorded.version > at
        case _:
            return recorded.at > at.timestamp()


class KnownEvents:
    """Makes events of facts; what a type in the journal stands for is found out once, at its first event."""

    def __init__(self, types: Mapping[str, EventType], codec: Codec) -> None:
        self._types, self._codec = types, codec
        self._reads: dict[str, Read | None] = {}

    def taken(self, recorded: Recorded) -> Any:
        """Return the event that a fact stands for, in its shape of today; None if it is not known here.

        Raises:
            Stuck: It cannot be read.
        """
        type_, data, _, _ = recorded.event
        try:
            read = self._reads[type_]
        except KeyError:
            read = self._reads[type_] = self._read(type_)
        if read is None or (type_ == FORGOTTEN and not self._is_genuine(recorded)):
            return None
        try:
            return read(data)
        except DecodeError as error:
            raise _unreadable(recorded, error) from error

    def read(self, recorded: Recorded) -> Any:
        """Return the event that a fact stands for, in its shape of today.

        Raises:
            Stuck: It cannot be read, or is not known here.
        """
        event = self.taken(recorded)
        if event is None:
            names = ", ".join(sorted(self._types))
            raise _unreadable(recorded, f"it is not among the events known here: {names}")
        return event

    def told(self, recorded: Recorded) -> Recorded:
        """Return a recorded fact as its event, with what is known of it besides."""
        fact, decode = recorded.event, self._codec.decode
        meta = decode(fact.meta, Meta) if fact.meta is not None else None
        event = decode(fact.data, Archived) if fact.type == ARCHIVED else self.read(recorded)
        return recorded._replace(event=event, meta=meta)

    def _is_genuine(self, recorded: Recorded) -> bool:
        # Ours stands in a stream of ours, so an event of the user's that is called the same is another.
        return self._types[FORGOTTEN].is_ours == recorded.stream.startswith(FORGOTTEN_PREFIX)

    def _read(self, type_: str) -> Read | None:
        name, found = split_type(type_)
        known = self._types.get(name)
        if known is None or type_ == ARCHIVED or (known.is_ours and type_ != FORGOTTEN):
            return None
        if found == known.version:
            return self._codec.decoder(known.cls)
        return partial(_upcasted, known, found, self._codec)


def _upcasted(known: EventType, found: int, codec: Codec, data: bytes) -> Any:
    if found > known.version:
        raise DecodeError(f"its version {found} is newer than this code's, {known.version}")
    try:
        fields = upcasted(known.upcasters or {}, json.loads(data), found=found, wanted=known.version)
    except Exception as error:  # Whatever the user's upcaster raises, the event cannot be read.
        raise DecodeError(f"an upcaster of {known.name} raised {error!r}") from error
    return codec.decode(json.dumps(fields).encode(), known.cls)


def _unreadable(recorded: Recorded, why: object) -> Stuck:
    return Stuck(
        f"event {recorded.version} of {recorded.stream}, a {recorded.event.type}, cannot be read: {why}; "
        "deploy the code that wrote it, or an upcaster that reads it",
        transaction_id=recorded.stream,
    )
