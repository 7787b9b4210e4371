"""The states of a coordinator and of agents, numbered in the order in which a walk meets them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Generic, TypeVar

from finality.core.protocol import fold

S = TypeVar("S")
NEW = 0


@dataclass
class Sites(Generic[S]):
    """What one kind of site can know, with its own functions.

    Attributes:
        commands: What is outstanding in each state.
    """

    new: S
    decide: Callable[[S, Any], tuple[Any, ...]]
    evolve: Callable[[S, Any], S]
    outstanding: Callable[[S], tuple[Any, ...]]
    is_durable: Callable[[Any], bool]

    def __post_init__(self) -> None:
        self.states: list[S] = []
        self.commands: list[tuple[Any, ...]] = []
        self._number_of: dict[Hashable, int] = {}
        self._answers: dict[tuple[int, Any], tuple[tuple[Any, ...], int]] = {}
        self._kept: dict[tuple[int, tuple[Any, ...]], int] = {}
        self._number(self.new)

    def tell(self, at: int, signal: Any) -> tuple[tuple[Any, ...], int]:
        """Return what *signal* makes true of state *at*, and the state after it."""
        known = self._answers.get((at, signal))
        if known is None:
            state = self.states[at]
            events = self.decide(state, signal)
            after = fold(self.evolve, state, events)
            assert self.decide(after, signal) == (), f"{signal} is heard twice"
            known = self._answers[at, signal] = events, self._number(after)
        return known

    def keep(self, kept: int, events: tuple[Any, ...]) -> int:
        """Return the state after those of *events* that survive a crash."""
        number = self._kept.get((kept, events))
        if number is None:
            durable = [event for event in events if self.is_durable(event)]
            number = self._kept[kept, events] = self._number(fold(self.evolve, self.states[kept], durable))
        return number

    def _number(self, state: S) -> int:
        key = _key(state)
        number = self._number_of.get(key)
        if number is None:
            number = self._number_of[key] = len(self.states)
            self.states.append(state)
            self.commands.append(self.outstanding(state))
        return number


def _key(state: Any) -> Hashable:
    assert is_dataclass(state), state
    values = (getattr(state, each.name) for each in fields(state))
    return tuple(value if isinstance(value, Hashable) else frozenset(value.items()) for value in values)
