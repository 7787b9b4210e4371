"""A question for events of several streams, and what was found: what a decision may rest on.

```
    query = finality.events(CourseOpened, SeatTaken, course="c1") | finality.events(SeatTaken, student="s7")
    found = await tx.read(query)
    await tx.append(found, SeatTaken("c1", "s7"))     # unless anything else that matches came first
```
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from finality.core.errors import DefinitionError
from finality.core.protocol import Recorded
from finality.core.sourcing import Match, Query, tags_of
from finality.patterns.event import event_type
from finality.runtime.sourcing.kind import EventType

E = TypeVar("E", covariant=True)
F = TypeVar("F")
G = TypeVar("G")
H = TypeVar("H")


@dataclass(frozen=True, slots=True)
class Events(Generic[E]):
    """Which events are asked for. Make it with ``finality.events``; ``|`` asks for what either does."""

    query: Query
    types: Mapping[str, EventType]

    def __or__(self, other: Events[F]) -> Events[E | F]:
        return Events(self.query | other.query, {**self.types, **other.types})


@dataclass(frozen=True, slots=True)
class Found(Generic[E]):
    """The events that were found, oldest first. Append to it, and no other that matches comes between."""

    asked: Events[E]
    recorded: tuple[Recorded, ...]

    def __iter__(self) -> Iterator[E]:
        return (each.event for each in self.recorded)

    def __len__(self) -> int:
        return len(self.recorded)


@overload
def events(one: type[F], /, **tags: Any) -> Events[F]: ...
@overload
def events(one: type[F], two: type[G], /, **tags: Any) -> Events[F | G]: ...
@overload
def events(one: type[F], two: type[G], three: type[H], /, **tags: Any) -> Events[F | G | H]: ...
@overload
def events(*types: type, **tags: Any) -> Events[Any]: ...
def events(*types: type, **tags: Any) -> Events[Any]:
    """Ask for the events of *types* that have all of *tags*: ``events(SeatTaken, course="c1")``.

    Raises:
        DefinitionError: No type or no tag is named, or a type does not have the tag.
    """
    if not types or not tags:
        raise DefinitionError(
            "events are asked for by type and tag: name one of each, as in events(SeatTaken, course=…)"
        )
    known = [event_type(cls) for cls in types]
    for each in known:
        lacking = sorted(tags.keys() - {*each.tags})
        if lacking:
            raise DefinitionError(
                f"event {each.name} has no tag {lacking[0]!r}, so it would never be found: declare it with "
                f'@finality.event(tags=["{lacking[0]}"])'
            )
    by_name = {each.name: each for each in known}
    return Events(Query((Match(frozenset(by_name), tags_of(tags)),)), by_name)
