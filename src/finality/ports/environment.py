"""The one door to clock, chance and threads, so that a test can stand in for the world."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

T = TypeVar("T")

COMMIT_BEFORE = "commit.before"
COMMIT_AFTER = "commit.after"
STEP_BEFORE = "step.before"
STEP_AFTER = "step.after"
COMPENSATION_BEFORE = "compensation.before"
COMPENSATION_AFTER = "compensation.after"
PREPARE_BEFORE = "prepare.before"
PREPARE_AFTER = "prepare.after"
PRE_COMMIT_AFTER = "pre_commit.after"
FINISH_BEFORE = "finish.before"
FINISH_AFTER = "finish.after"
PUBLISH_BEFORE = "publish.before"
PUBLISH_AFTER = "publish.after"
REACTION_BEFORE = "reaction.before"
REACTION_AFTER = "reaction.after"
PROJECTION_BEFORE = "projection.before"
PROJECTION_AFTER = "projection.after"
SWITCH_BEFORE = "switch.before"
SWITCH_AFTER = "switch.after"

CRASH_POINTS = (
    COMMIT_BEFORE,
    COMMIT_AFTER,
    STEP_BEFORE,
    STEP_AFTER,
    COMPENSATION_BEFORE,
    COMPENSATION_AFTER,
    PREPARE_BEFORE,
    PREPARE_AFTER,
    PRE_COMMIT_AFTER,
    FINISH_BEFORE,
    FINISH_AFTER,
    PUBLISH_BEFORE,
    PUBLISH_AFTER,
    REACTION_BEFORE,
    REACTION_AFTER,
    PROJECTION_BEFORE,
    PROJECTION_AFTER,
    SWITCH_BEFORE,
    SWITCH_AFTER,
)
"""Where a process may die with something half done: around each write, step, vote, publish and effect."""


class Environment(Protocol):
    """The world as a node sees it."""

    is_threaded: bool
    """Whether blocking work gets threads; a simulation runs it in line, in its own order."""

    def now(self) -> float:
        """Return seconds since the Unix epoch."""
        ...

    def chance(self) -> float:
        """Return a random number from 0 up to 1."""
        ...

    def random_bits(self, count: int) -> int:
        """Return *count* random bits."""
        ...

    def reach(self, point: str) -> None:
        """Pass the crash point *point*; a test may never return from it."""
        ...

    def run_blocking(self, work: Callable[[], T]) -> Awaitable[T]:
        """Run *work* where it may block without holding up the node."""
        ...
