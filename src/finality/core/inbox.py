"""What a person has said about events of an inbox: who, when, why and about which; it stays in the journal.

```
   inbox/CONSUMER/SOURCE#ID     RetryAsked · Discarded     in the commit of what was done
   inbox/CONSUMER               ReplayAsked                before it is done
```
"""

from __future__ import annotations

from dataclasses import dataclass

from finality.core.ids import StreamName

INBOX_PREFIX = "inbox/"


@dataclass(frozen=True, slots=True)
class RetryAsked:
    """A parked event is to be tried again at once."""

    event: str
    because: str
    by: str


@dataclass(frozen=True, slots=True)
class Discarded:
    """A parked event is given up: its consumer never runs it."""

    event: str
    because: str
    by: str


@dataclass(frozen=True, slots=True)
class ReplayAsked:
    """Events of a topic are to come to a consumer again, all or those since a time."""

    topic: str
    since: float | None
    because: str
    by: str


Word = RetryAsked | Discarded
InboxEvent = Word | ReplayAsked


def inbox_stream(consumer: str, event: str = "") -> StreamName:
    """Return where it is kept what was said about a consumer, or about one event of its."""
    return StreamName(f"{INBOX_PREFIX}{consumer}/{event}" if event else f"{INBOX_PREFIX}{consumer}")
