"""What the tests of whole nodes share: a clock that is moved by hand, and waiting without sleeping long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import finality
from finality.adapters.system.environment import SystemEnvironment
from finality.core.saga import events as e
from finality.runtime import timers

T = TypeVar("T")

PATIENCE_SECONDS = 20.0  # A condition that does not come true by then never will.
POLL_SECONDS = 0.002
QUICK = finality.Retry(attempts=3, first_seconds=0.001, cap_seconds=0.002)


class MovedClock(SystemEnvironment):
    """The world as it is, but for a clock that a test can move ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead_seconds = 0.0
        self.now = self._now
        timers.CLOCK_SECONDS = 0.02  # A node need not look at its clock often; one of a test had better.

    def _now(self) -> float:
        return time.time() + self.ahead_seconds

    def move(self, **time: float) -> None:
        """Let that much time pass at once."""
        self.ahead_seconds += timedelta(**time).total_seconds()


def url_of(folder: Path, name: str = "home") -> str:
    """Return the URL of a SQLite store in a test's folder."""
    return f"sqlite:///{folder}/{name}.db"


async def eventually(condition: Callable[[], Any], what: str = "") -> Any:
    """Return what *condition* answers once it is true.

    Raises:
        AssertionError: It never came true.
    """
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        answer = condition()
        found = await answer if isinstance(answer, Awaitable) else answer
        if found:
            return found
        assert time.monotonic() < give_up, f"it never came true: {what or condition}"
        await asyncio.sleep(POLL_SECONDS)


def within(work: Awaitable[T], seconds: float = PATIENCE_SECONDS) -> Awaitable[T]:
    """Await *work*, and call it a failure if it hangs."""
    return asyncio.wait_for(work, seconds)


async def table(node: finality.AsyncNode, at: str | None = None) -> None:
    """Create the table that steps leave their effects in."""
    await node.run(lambda tx: tx.execute("CREATE TABLE IF NOT EXISTS effect (what TEXT)"), at=at)


async def effects(node: finality.AsyncNode, at: str | None = None) -> list[str]:
    """Return what steps have left there, in order."""
    return [row[0] for row in await node.query("SELECT what FROM effect ORDER BY rowid", at=at)]


async def told(node: finality.AsyncNode, id: str) -> list[Any]:
    """Return the events of a saga."""
    return [recorded.event for recorded in await node.history(id)]


async def names(node: finality.AsyncNode, id: str) -> list[str]:
    """Return the types of a saga's events, with their step."""
    return [" ".join([type(x).__name__, *step(x)]) for x in await told(node, id)]


def step(event: Any) -> Iterable[str]:
    """Return the step that an event is about, if it is about one."""
    return [event.step] if getattr(event, "step", None) else []


async def attempts(node: finality.AsyncNode, id: str, of: str) -> int:
    """Return how often a step has failed."""
    return sum(isinstance(x, e.StepFailed) and x.step == of for x in await told(node, id))


def put(tx: finality.SyncTx, what: str) -> None:
    """Leave an effect."""
    tx.execute("INSERT INTO effect VALUES (?)", what)
