"""One step with its methods, as far as names go: what a declaration is checked and drawn from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from finality.patterns.options import Options
from finality.patterns.signature import RESERVED, Signature
from finality.patterns.step import DeclaredStep


@dataclass(frozen=True, slots=True)
class Method:
    """A function of the class and what its signature says."""

    function: Callable[..., Any]
    signature: Signature
    who: str


@dataclass(frozen=True, slots=True)
class Part:
    """One step with its methods, as far as names go.

    Attributes:
        needs: The steps that its own parameters, its condition and its list name.
    """

    name: str
    declared: DeclaredStep[Any, Any]
    action: Method
    needs: tuple[str, ...]
    condition: Method | None = None
    compensation: Method | None = None

    @property
    def options(self) -> Options:
        """Return what was said about it."""
        return self.declared.options


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about *name*, with the one of *known* that may have been meant."""
    names = list(known)
    close = get_close_matches(name, names, 1)
    if close:
        return f"; did you mean {close[0]!r}?"
    others = [other for other in names if other not in RESERVED]
    return f"; there is {', '.join(map(repr, others))}" if others else "; there is no other step"
