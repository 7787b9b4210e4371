"""What a group has in hand of a partition, as the text that a broker's file keeps.

It is a list of ``[first, last, attempt, due]``: events that follow each other, and were given equally often,
are one entry. *due* is when they are given again; null: somebody has them, until he is gone.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from finality.adapters.progress import Later, Progress


class Kept(NamedTuple):
    """A group's progress in a partition, as it is kept.

    Attributes:
        done_to: Up to here the group has acknowledged everything.
        left: How many events are not acknowledged that were given.
    """

    progress: int
    holder: int
    read_to: int
    done_to: int
    left: int
    hand: str


def kept(key: int, holder: int, progress: Progress) -> Kept:
    """Return *progress* as it is kept."""
    entries: list[list[float | None]] = []
    first = last = count = 0
    for position in sorted(progress.in_hand):
        attempt = progress.in_hand[position]
        if position == last + 1 and attempt == count:
            entries[-1][1] = last = position
            continue
        first = last = position
        count = attempt
        entries.append([first, last, attempt, None])
    entries += [[each, each, later.attempt, later.due] for each, later in progress.later.items()]
    left = len(progress.in_hand) + len(progress.later)
    return Kept(key, holder, progress.read_to, progress.done_to, left, json.dumps(entries))


def progress_of(read_to: int, hand: str) -> Progress:
    """Return the progress of whoever goes on: what somebody had is given again at once."""
    later = {
        position: Later(due or 0.0, attempt)
        for first, last, attempt, due in json.loads(hand)
        for position in range(first, last + 1)
    }
    return Progress(read_to, later=later)
