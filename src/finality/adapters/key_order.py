"""What becomes of the events of a batch: behind one that is not stored none of its key is."""

from __future__ import annotations

from finality.core.envelope import Envelope
from finality.core.errors import DefinitionError, FinalityError, Unavailable
from finality.ports.broker import Rejected
from finality.ports.topic_names import check_topic


class KeyOrder:
    """Keeps the order within each key of one batch."""

    def __init__(self, event_bytes_max: int) -> None:
        self._event_bytes_max = event_bytes_max
        self._held_up: set[tuple[str, str]] = set()

    def refusal(self, event: Envelope) -> FinalityError | None:
        """Return why the event is not to be stored, if so."""
        if (event.topic, event.key) in self._held_up:
            return Unavailable(
                f"event {event.id} was not stored: one of its key before it was not; publish it again"
            )
        if len(event.data) > self._event_bytes_max:
            size, most = len(event.data), self._event_bytes_max
            return self.rejected(
                event, f"it has {size:,} bytes and {most:,} is the most; publish a reference to what is large"
            )
        try:
            check_topic(event.topic)
        except DefinitionError as problem:
            return self.rejected(event, str(problem))
        return None

    def rejected(self, event: Envelope, why: str) -> Rejected:
        """Return that the event never will be stored, and hold up what is behind it."""
        self.hold_up(event)
        return Rejected(f"event {event.id} was rejected: {why}")

    def hold_up(self, event: Envelope) -> None:
        """Store nothing more of the event's key."""
        if event.key:
            self._held_up.add((event.topic, event.key))


def undeclared(topic: str) -> str:
    """Return why an event is rejected whose topic is not there."""
    return f"no topic {topic!r} was declared; declare it"
