"""A snapshot: a state at a version, so that a long stream is not folded from its beginning each time.

It is never needed: whoever has none folds all events, and comes to the same state. One of another
shape, which the state's fields or its declared version have changed since, counts as none.
"""

from __future__ import annotations

from dataclasses import dataclass

from finality.core.ids import Version


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state at a version of its stream.

    Attributes:
        shape: Of which shape the state is; one of another shape is not read.
        data: The state, as JSON.
    """

    version: Version
    shape: str
    data: bytes


def is_due(every: int | None, *, before: int, after: int) -> bool:
    """Say whether a stream that moves from a version to another passes one where a snapshot is taken.

    Args:
        every: How many events apart they are taken; None: never.
    """
    return every is not None and before // every < after // every
