"""From events to facts, and the snapshot that is due behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from finality.core.errors import DefinitionError, Refused
from finality.core.ids import Version
from finality.core.sourcing import Fact, Meta, Snapshot, aggregate_stream, is_due, tags_of
from finality.ports.codec import Codec
from finality.ports.sources import Sources
from finality.runtime.sourcing.kind import EventType, Kind, Loaded


def meta_of(
    meta: Meta | None,
    correlation_id: str | None,
    causation_id: str | None,
    traceparent: str | None,
    codec: Codec,
) -> bytes | None:
    """Return what is known of events besides as the journal keeps it; nothing if nothing is.

    Args:
        correlation_id: What counts where *meta* says nothing, as *causation_id* and *traceparent*.
    """
    if meta is None and not (correlation_id or causation_id or traceparent):
        return None
    known = asdict(meta) if meta is not None else {}
    known["correlation_id"] = known.get("correlation_id") or correlation_id
    known["causation_id"] = known.get("causation_id") or causation_id
    known["traceparent"] = known.get("traceparent") or traceparent
    return codec.pack({name: value for name, value in known.items() if value})


def facts_of(
    events: Iterable[Any], types: Mapping[type, EventType], meta: bytes | None, who: str, codec: Codec
) -> list[Fact]:
    """Return *events* as facts.

    Raises:
        DefinitionError: One is of a type that *who* does not take.
    """
    facts, encode, known = [], codec.pack, types.get
    for event in events:
        found = known(type(event))
        if found is None:
            names = ", ".join(sorted(each.name for each in types.values()))
            raise DefinitionError(
                f"{who} cannot take {event!r}: its events are {names}; declare it among them, or return one"
            )
        tags: tuple[str, ...] = ()
        if found.tags:
            tags = tuple(sorted(tags_of({name: getattr(event, name) for name in found.tags})))
        facts.append(Fact(found.type, encode(event), meta, tags))
    return facts


def record(
    sources: Sources, kind: Kind, aggregate: Any, loaded: Loaded, events: Sequence[Any], meta: bytes | None,
    codec: Codec,
) -> tuple[Version, int | None]:  # fmt: skip
    """Append *events* to the stream that *aggregate* was loaded from; return its new version, and its key.

    Raises:
        VersionConflict: It has moved on since.
        Refused: It is archived.
        DefinitionError: It is a state that was.
    """
    if loaded.is_past:
        raise DefinitionError(
            f"{kind.name} {loaded.id} was loaded as it was at version {loaded.version}: what happens now is "
            "decided on what is now; load it without at="
        )
    if loaded.is_archived:
        raise Refused(f"{kind.name} {loaded.id} is archived: it takes no more events; begin another one")
    if not events:
        return loaded.version, loaded.key
    stream = aggregate_stream(kind.name, loaded.id)
    facts = facts_of(events, kind.by_class, meta, kind.name, codec)
    key = sources.record(stream, facts, expected=loaded.version, key=loaded.key)
    version = Version(loaded.version + len(events))
    if is_due(kind.snapshot_every, before=loaded.version, after=version):
        for event in events:
            aggregate = aggregate.evolve(event)
        data = codec.pack(aggregate)
        sources.keep_snapshot(stream, Snapshot(version, kind.shape, data))
    return version, key
