"""A projection as the runtime runs it: the code, and where it stands.

```
   projection:balances   generation 1, serves      cursor ──▶ table balances
   rebuild:balances      generation 2, is built    cursor ──▶ table balances_g2 ──switch──▶ balances
```

Where it stands is kept in the cursor of its reader, so it moves in the commit of the effect.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from finality.core.ids import START, Cursor
from finality.runtime.definition import Style
from finality.runtime.sourcing.kind import EventType

SERVES, BUILDS = "projection:", "rebuild:"
"""What the readers of a projection begin with; no consumer's reader does, they have a slash."""


@dataclass(frozen=True, slots=True)
class Happened:
    """Where and when an event happened: what a projection may take beside it.

    Attributes:
        id: Of the aggregate.
        version: Of the aggregate, with this event.
        position: Of the event in the whole journal.
        at: When, in seconds since the Unix epoch.
        by: On whose behalf, as ``Meta`` says; as ``correlation_id``, ``causation_id`` and ``more`` do.
    """

    id: str
    version: int
    position: int
    at: float
    by: str
    correlation_id: str
    causation_id: str
    more: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class ProjectionCode:
    """A function of the user's that keeps tables up to what has happened.

    Attributes:
        name: Of the projection: that of its first table.
        tables: What it writes; all of them are its own.
        create: The statements that make the tables, with a placeholder for each name; () if it has
            not to make them, and then it cannot be rebuilt either.
        types: The events that it takes, by the names of the journal.
        is_batch: It takes a list of events.
        takes_context: It takes where and when they happened as well.
        store: The store that its tables are in; None is the home store.
    """

    name: str
    tables: tuple[str, ...]
    function: Callable[..., Any]
    style: Style
    types: Mapping[str, EventType]
    create: tuple[str, ...] = ()
    is_batch: bool = False
    takes_context: bool = False
    store: str | None = None

    @property
    def reader(self) -> str:
        """Return whose progress is that of the tables that serve."""
        return f"{SERVES}{self.name}"

    @property
    def rebuild(self) -> str:
        """Return whose progress is that of the tables that are built to take their place."""
        return f"{BUILDS}{self.name}"

    def built(self, generation: int) -> dict[str, str]:
        """Return what the tables of a generation are called until they serve."""
        return {table: f"{table}_g{generation}" for table in self.tables}


@dataclass(frozen=True, slots=True)
class Pause:
    """Why a projection is paused, who wants it, and since when."""

    because: str
    by: str
    at: float


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the tables of one generation stand.

    Attributes:
        cursor: Where the next event is read.
        events: How many of the user's events it has passed.
        position: Of the last one of them.
        at: When that one happened; 0 before the first.
        begun_at: When the tables were made.
        is_made: The tables are there.
        is_over: They serve: nothing is built. Of a rebuild only.
        because: Why it does not go on behind this event; empty if it does.
        pause: A person has stopped it here; None: nobody has.
    """

    generation: int = 1
    cursor: Cursor = START
    events: int = 0
    position: int = 0
    at: float = 0.0
    begun_at: float = 0.0
    is_made: bool = False
    is_over: bool = False
    because: str = ""
    pause: Pause | None = None

    @property
    def text(self) -> Cursor:
        """Return it as the cursor of its reader."""
        kept = asdict(self)
        if self.pause is None:
            del kept["pause"]  # A version before this one does not know it.
        return Cursor(json.dumps(kept, separators=(",", ":")))


def standing_of(text: Cursor) -> Standing:
    """Return what the cursor of a projection's reader says."""
    kept = json.loads(text) if text else {}
    pause = kept.pop("pause", None)
    return Standing(**kept, pause=Pause(**pause) if pause else None)
