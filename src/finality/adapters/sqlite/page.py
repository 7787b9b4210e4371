"""A page: the events of one partition that were published together, as one row of a broker's file.

```
   a b c ──packed──▶ attributes  [[3, 2, 5], ["id-a", "id-b", "id-c"], "/shop", …]   a column each, one value
                                                                                     where all have the same
                     data        aaabbccccc
```

A row for each event would cost several times as much, to write and to read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise, repeat
from math import inf
from typing import Any, NamedTuple

import msgspec

from finality.core.envelope import NONE, Envelope

PAGE_SECONDS_MAX = 10.0  # From its first event; an old one among new ones has a page of its own.

# The standard library's encoder takes 1.2 µs an event, a third of all that the page costs; this one 0.1.
_decoded = msgspec.json.Decoder().decode
_encoded = msgspec.json.Encoder(enc_hook=dict).encode  # No other mapping than a dict is known to it.


class Page(NamedTuple):
    """A page as it is stored, but for its place.

    Attributes:
        events: How many it has.
        ids: Of its events, to see soon that none of them is known.
        oldest: The earliest time of an event of it.
        newest: The latest one.
    """

    topic: int
    partition: int
    events: int
    ids: frozenset[str]
    oldest: float
    newest: float
    attributes: str
    data: bytes


def in_pages(events: Sequence[Envelope]) -> list[list[Envelope]]:
    """Return *events* in pages, each of one time: a repeat is looked for in the pages of its time."""
    found: list[list[Envelope]] = []
    begin = -inf
    for event in events:
        if abs(event.time - begin) > PAGE_SECONDS_MAX:
            begin = event.time
            found.append([])
        found[-1].append(event)
    return found


def packed(topic: int, partition: int, events: Sequence[Envelope]) -> Page:
    """Return the page that *events* are, each of them once."""
    ids = frozenset([event.id for event in events])
    if len(ids) < len(events):
        events = [*{(event.id, event.source): event for event in events}.values()]
    of_events, sources, types, _, data, keys, times, *optional, extensions = zip(*events, strict=True)
    columns = [of_events, sources, types, keys, times, *optional, extensions]
    attributes = _encoded([[*map(len, data)], *map(_once, columns)]).decode()
    return Page(topic, partition, len(events), ids, min(times), max(times), attributes, b"".join(data))


def _once(column: Sequence[Any]) -> Any:
    """Return the value that all have, or else a list of them."""
    return column[0] if column.count(column[0]) == len(column) else column


def unpacked(attributes: str, data: bytes, topic: str) -> list[Envelope]:
    """Return the events of a page."""
    sizes, ids, sources, types, keys, times, *optional, extensions = _decoded(attributes)
    bodies = [data[begin:end] for begin, end in pairwise(accumulate(sizes, initial=0))]
    columns = [ids, sources, types, topic, bodies, keys, times, *optional, extensions or NONE]
    together = zip(*map(_each, columns))  # noqa: B905  # what all have never ends
    return [*map(tuple.__new__, repeat(Envelope), together)]


def _each(column: Any) -> Iterable[Any]:
    return column if type(column) is list else repeat(column)
