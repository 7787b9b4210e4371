"""What a person has said about a projection: who, when and why; it stays in the journal.

```
   projection/NAME     Paused ──▶ Resumed ──▶ …     in the commit that does it; before it in another store
```
"""

from __future__ import annotations

from dataclasses import dataclass

from finality.core.ids import StreamName

PROJECTION_PREFIX = "projection/"


@dataclass(frozen=True, slots=True)
class Paused:
    """A projection is to stop where it is, until it is resumed."""

    because: str
    by: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """A projection that was paused is to go on."""

    because: str
    by: str


ProjectionEvent = Paused | Resumed


def projection_stream(name: str) -> StreamName:
    """Return where it is kept what was said about a projection."""
    return StreamName(f"{PROJECTION_PREFIX}{name}")
