"""A circuit breaker: when calls to one participant keep failing, stop calling it for a while.

```
    CLOSED ── enough failures in the window ──▶ OPEN ── its time is up, somebody wants to call ──┐
      ▲                                          ▲                                               ▼
      └────────── the probe succeeded ───────────┼────────── the probe failed ───────────── HALF-OPEN
                                                 └── (for another while)               one probe at a time
```

Only transitions are events, so the stream ``breaker/NAME`` stays short: each node counts the
failures that it sees in a `Tally`, in memory, and the first to count enough opens the breaker for
all. A probe whose node dies would keep the breaker half-open, so a probe has a time limit too.

Source: Release It!, M. Nygard, 2007.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import assert_never


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens, and for how long.

    Attributes:
        failures: That many within *window_seconds*, with no success between them, open it.
        open_seconds: How long it stays open, and how long a probe may take.
    """

    failures: int = 5
    window_seconds: float = 30.0
    open_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.failures < 1:
            raise ValueError(f"failures is {self.failures}: a breaker opens on a failure; give 1 or more")
        if self.window_seconds <= 0 or self.open_seconds <= 0:
            raise ValueError("a breaker's window and its pause are spans of time: give seconds above 0")


@dataclass(frozen=True, slots=True)
class Tally:
    """The failures that one node has seen lately: when each was, oldest first."""

    failures: tuple[float, ...] = ()

    def failed(self, now: float, policy: BreakerPolicy) -> Tally:
        """Return the tally with one more failure; it never holds more than the policy counts."""
        recent = (*(at for at in self.failures if at > now - policy.window_seconds), now)
        return Tally(recent[-policy.failures :])

    def is_enough(self, policy: BreakerPolicy) -> bool:
        """Say whether the breaker should open."""
        return len(self.failures) >= policy.failures


EMPTY = Tally()


# ── Events ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Opened:
    """Nobody calls before *until*."""

    until: float
    because: str


@dataclass(frozen=True, slots=True)
class ProbeStarted:
    """*by* may make one call, to see whether it works again; nobody else calls before *until*."""

    by: str
    until: float


@dataclass(frozen=True, slots=True)
class Closed:
    """Everybody may call."""


BreakerEvent = Opened | ProbeStarted | Closed


# ── Signals ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class CallWanted:
    """The node *by* wants to call."""

    by: str
    now: float


@dataclass(frozen=True, slots=True)
class CallSucceeded:
    """The node *by* called, and it worked."""

    by: str


@dataclass(frozen=True, slots=True)
class CallFailed:
    """The node *by* called in vain; *tally* counts this failure already."""

    by: str
    now: float
    because: str
    tally: Tally


BreakerSignal = CallWanted | CallSucceeded | CallFailed


# ── State ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Breaker:
    """What the stream says: closed, open *until* then, or half-open with the *prober*'s call.

    Attributes:
        until: None when it is closed.
        prober: The node whose call decides; None when it is closed or open.
    """

    policy: BreakerPolicy
    until: float | None = None
    prober: str | None = None
    because: str = ""

    @property
    def is_closed(self) -> bool:
        """Say whether everybody may call."""
        return self.until is None

    def may_call(self, by: str, now: float) -> bool:
        """Say whether the node *by* may call, once what `decide` said of its `CallWanted` is recorded."""
        return self.until is None or (self.prober == by and now < self.until)


def decide(state: Breaker, signal: BreakerSignal) -> tuple[BreakerEvent, ...]:
    """Return what *signal* makes true; () for what changes nothing, such as most calls."""
    match signal:
        case CallWanted(by, now):
            if state.until is None or now < state.until:
                return ()
            return (ProbeStarted(by, now + state.policy.open_seconds),)
        case CallSucceeded(by):
            # A call that began before it opened says nothing about now: only the probe does.
            return (Closed(),) if state.prober == by else ()
        case CallFailed(by, now, because, tally):
            is_enough = state.until is None and tally.is_enough(state.policy)
            if not is_enough and state.prober != by:
                return ()
            return (Opened(now + state.policy.open_seconds, because),)
        case _:
            assert_never(signal)


def evolve(state: Breaker, event: BreakerEvent) -> Breaker:
    """Return the breaker once *event* is true."""
    match event:
        case Opened(until, because):
            return replace(state, until=until, prober=None, because=because)
        case ProbeStarted(by, until):
            return replace(state, until=until, prober=by)
        case Closed():
            return Breaker(state.policy)
        case _:
            assert_never(event)
