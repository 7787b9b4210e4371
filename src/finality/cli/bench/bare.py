"""What the bare clients publish: the events that the relay brings, without the relay."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from finality.core.envelope import Envelope, attributes_of

BATCH = 500  # As many as the relay has in hand.


class Bare(NamedTuple):
    """An event as it goes over the wire: with the attributes that ours has, too."""

    key: str
    attributes: dict[str, str]
    data: bytes


def bare_events(payload: dict[str, object], type: str, count: int, keys: int) -> list[Bare]:
    """Return so many events of the same payload, each with an id of its own, made before any clock runs."""
    data = json.dumps(payload, separators=(",", ":")).encode()
    found = []
    for number in range(count):
        key = f"k{number % keys}"
        id, source = f"{number * 0x9E3779B97F4A7C15F39CC0605CEDC834 % (1 << 128):032x}", f"finality:{0:024x}"
        envelope = Envelope(id, source, type, "", data, key, 1_700_000_000 + number / 1_000)
        found.append(Bare(key, attributes_of(envelope), data))
    return found


def batches(events: Sequence[Bare]) -> list[Sequence[Bare]]:
    """Return *events* in batches."""
    return [events[begin : begin + BATCH] for begin in range(0, len(events), BATCH)]
