"""A story: one case that many patterns can do, and the words to tell it in."""

from __future__ import annotations

from dataclasses import dataclass

from finality.cli.compare.way import Way


@dataclass(frozen=True, slots=True)
class Story:
    """What is told.

    Attributes:
        does: What happens so often, such as ``$100 withdrawn``.
        done: What a case is that was done.
        next: What somebody wants as soon as the coordinator is dead.
        refused: When one is refused.
        apart: What a reader finds who finds what does not fit.
        between: Of whom something is asked, which is counted.
    """

    name: str
    ways: tuple[Way, ...]
    does: str
    done: str
    next: str
    refused: str
    apart: str
    between: str

    def way(self, name: str) -> Way:
        """Return a way by its name."""
        return next(way for way in self.ways if way.name == name)
