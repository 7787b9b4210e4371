"""A service beyond the network: it keeps idempotency keys, outlives every crash, and answers badly.

```
    caller                 service                       what the seed may do to a call
      │── key, request ──▶  │  asked before?             lost on its way there      no effect
      │                     │  no: take effect, keep     comes late                 its effect is too late
      │◀───── answer ────── │  yes: the first answer     comes twice                one effect
                                                         answer lost on its way    effect, and an error
```

An undo names the key of what it undoes, and is remembered: an action that comes after its own
undo has no effect, however late.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from finality.core.errors import Refused
from finality.testing.process import CURRENT

T = TypeVar("T")

SERVICE_BEFORE = "service.before"
SERVICE_AFTER = "service.after"


class NoAnswer(Exception):
    """The service did not answer: nobody knows whether it did what it was asked for."""


@dataclass(frozen=True, slots=True)
class ServiceFaults:
    """How a service and the network before it misbehave, each from 0 to 1; all 0 is a good day.

    Attributes:
        lost: How often a request never arrives.
        answer_lost: How often the answer does not arrive.
        late: How often a request arrives only after the caller has given up.
        doubled: How often a request arrives twice.
        seconds_max: How long an answer takes, at most.
        late_seconds_max: How late a late request comes, at most.
    """

    lost: float = 0.0
    answer_lost: float = 0.0
    late: float = 0.0
    doubled: float = 0.0
    seconds_max: float = 0.0
    late_seconds_max: float = 5.0


@dataclass(slots=True)
class Kept:
    """What the service has on record for one key."""

    answer: Any = None
    is_refusal: bool = False
    is_undone: bool = False


@dataclass(slots=True)
class SimulatedService:
    """A service that other code calls with an idempotency key, such as ``attempt.key``.

    Attributes:
        kept: What it has on record, by key: what a real service's database holds.
        asked: How often each key arrived.
        counts: How often each fault happened.
    """

    name: str
    faults: ServiceFaults = ServiceFaults()
    seed: int | str = 0
    kept: dict[str, Kept] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    _dice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything, as before the first call."""
        self.kept.clear()
        self.asked.clear()
        self.counts.clear()
        self._dice = random.Random(f"{self.seed} {self.name}")  # A simulation wants repeatable dice.

    async def ask(self, key: str, effect: Callable[[], T]) -> T:
        """Ask for *effect*, once for each *key*; return what it answered the first time.

        Raises:
            NoAnswer: Nobody knows whether it took effect.
            Refused: The service said no, now or the first time.
        """
        answer: T = await self._call(key, lambda: self._act(key, effect))
        return answer

    async def undo(self, undoes: str, effect: Callable[[Any], None]) -> None:
        """Undo what *undoes* did, if it did: *effect* gets its answer. It is never done afterwards.

        Raises:
            NoAnswer: Nobody knows whether it is undone.
        """
        await self._call(f"{undoes} (undo)", lambda: self._undo(undoes, effect))

    def has_effect(self, key: str) -> bool:
        """Say whether what was asked for under *key* has been done, and not undone."""
        kept = self.kept.get(key)
        return kept is not None and not kept.is_refusal and not kept.is_undone

    @property
    def effects(self) -> list[str]:
        """Return the keys whose effect stands."""
        return [key for key in self.kept if self.has_effect(key)]

    # ── What the service does ───────────────────────────────────────────────────────────────

    def _act(self, key: str, effect: Callable[[], T]) -> Any:
        kept = self.kept.get(key)
        if kept is None:
            try:
                kept = Kept(effect())
            except Refused as refused:
                kept = Kept(refused.because, is_refusal=True)
            self.kept[key] = kept
        if kept.is_undone:
            raise Refused("it was undone before it came")
        if kept.is_refusal:
            raise Refused(str(kept.answer))
        return kept.answer

    def _undo(self, key: str, effect: Callable[[Any], None]) -> None:
        kept = self.kept.get(key)
        if kept is None:
            self.kept[key] = Kept(is_undone=True)
        elif not kept.is_undone and not kept.is_refusal:
            effect(kept.answer)
            kept.is_undone = True

    # ── What the network does ───────────────────────────────────────────────────────────────

    async def _call(self, key: str, work: Callable[[], T]) -> T:
        faults, process = self.faults, CURRENT.get()
        if process is not None:
            process.reach(SERVICE_BEFORE)
        await self._pass_time(faults.seconds_max)
        if self._happens("lost", faults.lost):
            raise NoAnswer(f"{self.name} did not answer")
        if self._happens("late", faults.late):
            self._later(key, work)
            raise NoAnswer(f"{self.name} did not answer in time")
        if self._happens("doubled", faults.doubled):
            self._later(key, work)
        try:
            answer = self._arrived(key, work)
        finally:
            if process is not None:
                process.reach(SERVICE_AFTER)
            await self._pass_time(faults.seconds_max)
        if self._happens("answer lost", faults.answer_lost):
            raise NoAnswer(f"{self.name} did not answer")
        return answer

    def _arrived(self, key: str, work: Callable[[], T]) -> T:
        self.asked[key] += 1
        return work()

    def _later(self, key: str, work: Callable[[], T]) -> None:
        def arrive() -> None:
            try:
                self._arrived(key, work)
            except Exception:  # Nobody waits for this answer.
                self.counts["failed late"] += 1

        # It comes from the network: the caller may be dead by then.
        context = _nobodys_context()
        seconds = self._dice.random() * self.faults.late_seconds_max
        asyncio.get_running_loop().call_later(seconds, arrive, context=context)

    def _happens(self, fault: str, rate: float) -> bool:
        happens = rate > 0.0 and self._dice.random() < rate
        if happens:
            self.counts[fault] += 1
        return happens

    async def _pass_time(self, seconds_max: float) -> None:
        if seconds_max > 0.0:
            await asyncio.sleep(self._dice.random() * seconds_max)


def _nobodys_context() -> contextvars.Context:
    context = contextvars.copy_context()
    context.run(CURRENT.set, None)
    return context
