"""What a person has said about an outbox: who, when, why and about which events; it stays in the journal.

```
   outbox          RetryAsked · Discarded · ResendAsked     that of the home store
   outbox/STORE                                             that of another one
```
"""

from __future__ import annotations

from dataclasses import dataclass

from finality.core.ids import StreamName

OUTBOX = "outbox"


@dataclass(frozen=True, slots=True)
class RetryAsked:
    """An event that the broker has rejected is to be published again."""

    event: str
    because: str
    by: str


@dataclass(frozen=True, slots=True)
class Discarded:
    """An event that the broker has rejected is given up: nobody ever receives it."""

    event: str
    because: str
    by: str


@dataclass(frozen=True, slots=True)
class ResendAsked:
    """What was published since a time is to be relayed again; without topics, all of it."""

    since: float
    topics: tuple[str, ...]
    because: str
    by: str


OutboxEvent = RetryAsked | Discarded | ResendAsked


def outbox_stream(store: str = "") -> StreamName:
    """Return where it is kept what was said about the outbox of a store."""
    return StreamName(f"{OUTBOX}/{store}" if store else OUTBOX)
