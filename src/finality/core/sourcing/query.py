"""A query over several streams: the events that a decision rests on, wherever they happened.

```
    events(CourseOpened, SeatTaken, course="c1") | events(SeatTaken, student="s7")
           ╰── one match: these types, all of these tags ──╯  ╰── or another ──╯
```

What matches is only ever added to, so the number of events that match is the query's version: a
decision that rested on seven of them holds as long as there are seven.

Source: Dynamic Consistency Boundary, S. Pellegrini and others, 2023 (dcb.events).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Match:
    """The events of some types that have all of some tags.

    Attributes:
        types: Their names, without versions; empty: of any type.
        tags: At least one: it is what they are found by.
    """

    types: frozenset[str]
    tags: frozenset[str]

    def has(self, name: str, tags: frozenset[str]) -> bool:
        """Say whether an event of type *name* with *tags* is one of them."""
        return (not self.types or name in self.types) and self.tags <= tags


@dataclass(frozen=True, slots=True)
class Query:
    """The events of any of some matches. Make it with ``finality.events``, join two with ``|``."""

    matches: tuple[Match, ...]

    def __or__(self, other: Query) -> Query:
        return Query((*self.matches, *other.matches))

    def has(self, name: str, tags: frozenset[str]) -> bool:
        """Say whether an event of type *name* with *tags* is one of them."""
        return any(match.has(name, tags) for match in self.matches)

    @property
    def tags(self) -> frozenset[str]:
        """Return every tag that is asked for: whoever holds them all keeps what matches from changing."""
        return frozenset(tag for match in self.matches for tag in match.tags)


def tags_of(values: Mapping[str, Any]) -> frozenset[str]:
    """Return the tags that *values* stand for, such as ``course:c1``; one of None stands for none."""
    return frozenset(f"{name}:{value}" for name, value in values.items() if value is not None)
