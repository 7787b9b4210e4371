"""From rows of the journal in memory to events."""

from __future__ import annotations

from finality.adapters.memory.database import Event
from finality.core.ids import Position, Version
from finality.core.protocol import Recorded
from finality.core.sourcing import Fact, is_fact
from finality.ports.codec import Codec


def recorded_of(event: Event, codec: Codec) -> Recorded:
    """Return the event that a row of the journal stands for."""
    if is_fact(event.type_name):
        decoded: object = Fact(event.type_name, event.data, event.meta)
    else:
        decoded = codec.decode_event(event.type_name, event.data)
    return Recorded(
        Position(event.position), event.stream, Version(event.version), decoded, event.at, event.by
    )
