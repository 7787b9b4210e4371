"""What may be said about a step besides its code: ``signal``, ``timer``, ``Breaker``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Any, Final

from finality.core.backoff import Retry
from finality.core.errors import DefinitionError
from finality.runtime.definition import Style


class Absent(Enum):
    """Stands for a default that was not given, so that None can be one."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


@dataclass(frozen=True, slots=True)
class Signal:
    """A named value that someone sends to the saga; see ``signal``."""

    name: str
    within: timedelta | None
    default: Any


@dataclass(frozen=True, slots=True)
class Timer:
    """A time that passes before the step runs; see ``timer``."""

    after: timedelta


@dataclass(frozen=True, slots=True)
class Breaker:
    """A circuit breaker: after some failures nothing is asked for a while.

    Attributes:
        name: Steps that name the same breaker share it.
        failures: How many within the *window* open it.
        open_for: How long it stays open before one attempt may try again.
    """

    name: str
    failures: int = 5
    window: timedelta = timedelta(seconds=30)
    open_for: timedelta = timedelta(seconds=30)

    def __post_init__(self) -> None:
        if self.failures < 1:
            raise DefinitionError(
                f"breaker {self.name!r} opens after {self.failures} failures: give 1 or more"
            )
        positive(self.window, f"the window of breaker {self.name!r}")
        positive(self.open_for, f"the open time of breaker {self.name!r}")


@dataclass(frozen=True, slots=True)
class Options:
    """What a declaration said; None where it said nothing."""

    retry: Retry | None = None
    timeout: timedelta | None = None
    breaker: Breaker | None = None
    when: Callable[..., object] | None = None
    each: str | None = None
    at_once: int = 10
    wait_for: Signal | Timer | None = None
    at: str | None = None
    raises: str | None = None
    lowers: str | None = None

    @property
    def signal(self) -> str | None:
        """Return the name of the signal that the step waits for."""
        return self.wait_for.name if isinstance(self.wait_for, Signal) else None


def signal(name: str, *, within: timedelta | None = None, default: Any = ABSENT) -> Signal:
    """Return a wait for the value that ``handle.signal(name, value)`` sends.

    A step that waits for a signal takes its value as a parameter of that name; the annotation
    is the value's type.

    Args:
        within: How long it may take, from when the step's needs are there; None is for ever.
        default: Stands in for a signal that did not come in time; without one the step is refused.
    """
    if not name.isidentifier():
        raise DefinitionError(f"signal {name!r} cannot be a parameter: name it like one, as in 'approval'")
    if within is None and default is not ABSENT:
        raise DefinitionError(
            f"signal {name!r} has a default and all the time in the world: "
            "the default would never stand in; give within=timedelta(…)"
        )
    if within is not None:
        positive(within, f"the time for signal {name!r}")
    return Signal(name, within, default)


def timer(after: timedelta) -> Timer:
    """Return a wait that ends *after* that time, counted from when the step's needs are there."""
    positive(after, "the time of a timer")
    return Timer(after)


def positive(time: timedelta, what: str) -> None:
    """See that *time* is a time to wait.

    Raises:
        DefinitionError: It is not a timedelta, or not above zero.
    """
    if not isinstance(time, timedelta):
        raise DefinitionError(f"{what} is {time!r}: give a timedelta, as in timedelta(seconds=5)")
    if time <= timedelta(0):
        raise DefinitionError(f"{what} is {time}: give more than zero")


def check_timeout(timeout: timedelta | None, style: Style, who: str) -> None:
    """See that an attempt of *who* can be ended when its time is up.

    Raises:
        DefinitionError: It cannot, or there is no time at all.
    """
    if timeout is None:
        return
    positive(timeout, f"the timeout of {who}")
    if style is Style.TURN:
        raise DefinitionError(
            f"{who} is a plain def with tx and has a timeout: a turn of the store cannot be interrupted; "
            "make it async def, or drop the timeout"
        )
