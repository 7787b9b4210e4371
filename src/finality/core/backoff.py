"""Backoff: how long to wait before the next attempt, and when to stop trying.

```
    delay(n) = min(cap, first × factor^(n-1)), shortened by up to `jitter` of itself
```

Jitter keeps a thousand transactions that failed together from coming back together.

Source: Exponential Backoff And Jitter, M. Brooker, 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

DOUBLINGS_MAX = 60  # 2^60 seconds is beyond any cap; past it the power overflows a float.


@dataclass(frozen=True, slots=True)
class Retry:
    """When to try again, and how often.

    Attributes:
        attempts: In all, the first one included; None tries until it succeeds.
        first_seconds: The wait after the first failure.
        factor: What each further wait is multiplied by, 1 or more.
        cap_seconds: No wait is longer.
        jitter: The share of each wait that chance may take away, 0 to 1.
    """

    attempts: int | None = 5
    first_seconds: float = 0.1
    factor: float = 2.0
    cap_seconds: float = 30.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        if self.attempts is not None and self.attempts < 1:
            raise ValueError(f"attempts is {self.attempts}: the first counts; give 1 or more, or None")
        if self.first_seconds < 0 or self.cap_seconds < 0:
            raise ValueError("a wait is negative: give seconds of 0 or more")
        if self.factor < 1:
            raise ValueError(f"factor is {self.factor}: waits may not shrink; give 1 or more")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter is {self.jitter}: it is a share; give 0 to 1")

    def is_exhausted(self, attempt: int) -> bool:
        """Say whether *attempt*, counted from 1, was the last one allowed."""
        return self.attempts is not None and attempt >= self.attempts

    def delay_seconds(self, attempt: int, chance: float) -> float:
        """Return the wait after *attempt*, counted from 1.

        Args:
            chance: A random number from 0 (the full wait) up to 1 (the shortest).
        """
        doublings = min(attempt - 1, DOUBLINGS_MAX)
        full = min(self.cap_seconds, self.first_seconds * self.factor**doublings)
        return full * (1 - self.jitter * chance)


DEFAULT = Retry()
"""Five attempts within a few seconds."""

PATIENT = Retry(attempts=20)
"""Twenty attempts within some six minutes, for what should not be given up lightly."""

FOREVER = Retry(attempts=None)
"""Try until it succeeds, with waits of up to 30 seconds."""
