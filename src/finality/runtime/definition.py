"""A definition as the coordinator runs it: a graph, and for each step the code behind it.

``patterns`` makes definitions from the notation that users write; nothing here knows of classes,
decorators or annotations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from finality.core.breaker import BreakerPolicy
from finality.core.ids import TransactionId
from finality.core.saga import Graph
from finality.core.saga import events as e


class Style(Enum):
    """How a function has to be called.

    TURN: plain ``def`` with a transaction, run whole in a turn of the store.
    SCOPE: ``async def`` with a transaction, which begins at its first statement.
    BLOCKING: plain ``def`` without one, run in a thread.
    TASK: ``async def`` without one.
    """

    TURN = "turn"
    SCOPE = "scope"
    BLOCKING = "blocking"
    TASK = "task"


class Source(Enum):
    """Where an argument comes from."""

    TX = "tx"
    ATTEMPT = "attempt"
    ITEM = "item"
    SIGNAL = "signal"
    RESULT = "result"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a step's function.

    Attributes:
        key: The step whose result it takes, or the signal whose value.
        type: What the value is decoded to.
    """

    source: Source
    key: str = ""
    type: Any = None


@dataclass(frozen=True, slots=True)
class Action:
    """A function of the user's, called as ``function(saga, *arguments)``."""

    function: Callable[..., Any]
    style: Style
    parameters: tuple[Parameter, ...] = ()


@dataclass(frozen=True, slots=True)
class StepCode:
    """What runs when a step runs.

    Attributes:
        items: What yields the list of a step that runs over one, called like any other action.
        condition: Called with the needs; the step is skipped when it answers false.
        store: The name of the store that the step works in; None is the home store.
        breaker: The name of the circuit breaker in front of it.
    """

    action: Action
    compensation: Action | None = None
    condition: Action | None = None
    items: Action | None = None
    store: str | None = None
    timeout_seconds: float | None = None
    breaker: str | None = None
    breaker_policy: BreakerPolicy = field(default_factory=BreakerPolicy)


@dataclass(frozen=True, slots=True)
class Definition:
    """One version of one kind of saga.

    Attributes:
        type: The class that inputs are decoded to.
        signals: The type of each signal's value, by name.
        accepts: Older versions whose open sagas go on under this one: for each, the new names of
            steps that were renamed.
        result: The type of what the saga yields.
        direct: The actions that are one turn in the home store and nothing else, by the command that
            asks for them and the step: most of them.
        may_hold_secrets: Whether a secret may be anywhere in an input; to look takes its time.
    """

    graph: Graph
    type: Any
    codes: Mapping[str, StepCode]
    signals: Mapping[str, Any] = field(default_factory=dict)
    accepts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    result: Any = Any
    may_hold_secrets: bool = True
    direct: Mapping[type, Mapping[str, Action]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        actions = {name: code.action for name, code in self.codes.items() if code.condition is None}
        undos = {name: code.compensation for name, code in self.codes.items()}
        direct = {e.Run: dict(self._direct(actions)), e.Compensate: dict(self._direct(undos))}
        # A frozen dataclass lets its own __post_init__ set derived fields only this way.
        object.__setattr__(self, "direct", direct)

    def _direct(self, actions: Mapping[str, Action | None]) -> Iterator[tuple[str, Action]]:
        for name, action in actions.items():
            code = self.codes[name]
            is_here = code.store is None and code.breaker is None
            if action is not None and is_here and action.style is Style.TURN:
                yield name, action

    @property
    def kind(self) -> str:
        """Return the saga's name."""
        return self.graph.saga

    @property
    def version(self) -> str:
        """Return the version derived from its shape."""
        return self.graph.version


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a step may know about its own run: take it as the parameter ``attempt``.

    Attributes:
        key: The same for every attempt of this run, and for no other: send it to a service as
            the idempotency key. The compensation has a key of its own.
        number: Counted from 1.
        deadline: The saga's, in seconds since the Unix epoch.
        undoes: For a compensation, the key of what it undoes: ask the service by it what became
            of an action whose answer was lost. None for a step.
    """

    transaction_id: TransactionId
    step: str
    number: int
    key: str
    deadline: float | None = None
    undoes: str | None = None
