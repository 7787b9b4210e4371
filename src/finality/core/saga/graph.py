"""The shape of a saga: its steps, what each needs, and what may still be undone.

```
    payment ─┬─▶ flight ─┬─▶ ticket ──▶ receipt
             └─▶ room ───┘   (pivot)    (retriable)
    └── compensatable ──┘
```

The pivot is the point of no return, so it waits for *every* step that does not need it. What
needs it, directly or through others, is retriable: it runs after the pivot and cannot fail
for good.

Source: Sagas, H. Garcia-Molina and K. Salem, 1987; Flexible Transactions, S. Mehrotra et al., 1992.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from graphlib import CycleError, TopologicalSorter
from typing import Any

from finality.core.backoff import DEFAULT, PATIENT, Retry
from finality.core.errors import DefinitionError
from finality.core.ids import Json

ITEMS_MAX = 1_000  # Each event of a fan-out looks at all its items: 1,000 items are a million looks.


class Kind(Enum):
    """What becomes of a step when the saga cannot go on."""

    COMPENSATABLE = "compensatable"
    PIVOT = "pivot"
    RETRIABLE = "retriable"


@dataclass(frozen=True, slots=True)
class Wait:
    """What a step waits for once its needs are there, before it runs.

    Attributes:
        signal: The name of the signal; None waits for time alone.
        seconds: How long to sleep, or how long the signal may take; None waits for ever.
        default: The value that stands in for a signal that never came; None refuses the step.
    """

    signal: str | None
    seconds: float | None
    default: Json | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One step as the protocol sees it: no code, only shape.

    Attributes:
        needs: The steps whose results it takes.
        is_local: Its effect and its record commit together, so its answer cannot be lost.
        has_undo: It has a compensation.
        each: What list it runs over, one branch an item; None runs it once.
        at_once: How many items of the list may be in flight together.
        is_child: It runs a saga of its own.
        is_conditional: Its condition may skip it.
        after: The steps that must be settled before it runs; the graph works them out.
    """

    name: str
    needs: tuple[str, ...] = ()
    kind: Kind = Kind.COMPENSATABLE
    is_local: bool = True
    has_undo: bool = False
    retry: Retry = DEFAULT
    undo_retry: Retry = PATIENT
    wait: Wait | None = None
    each: str | None = None
    at_once: int = 10
    is_child: bool = False
    is_conditional: bool = False
    after: tuple[str, ...] = ()

    @property
    def is_undoable(self) -> bool:
        """Say whether something has to be done to undo it."""
        return self.has_undo or self.is_child


@dataclass(frozen=True, slots=True)
class Graph:
    """The steps of one definition of a saga, in an order in which they could run one by one.

    Attributes:
        saga: The definition's name.
        version: Derived from its shape; sagas of another version are left alone.
        deadline_seconds: From the start; None has no deadline.
        returns: The step whose result is the saga's.
        needed_by: The steps that come right after each.
        behind: The steps that come after each, however far.
        plain: The steps that run at once and once: no wait, no list, no child.
        owed: What is outstanding once exactly these steps are settled, as far as it was asked.
        owed_back: What is outstanding on the way back while exactly these still stand, likewise.
    """

    saga: str
    version: str
    steps: tuple[Step, ...]
    deadline_seconds: float | None = None
    returns: str | None = None
    by_name: dict[str, Step] = field(init=False, compare=False, repr=False)
    needed_by: dict[str, tuple[str, ...]] = field(init=False, compare=False, repr=False)
    behind: dict[str, frozenset[str]] = field(init=False, compare=False, repr=False)
    pivot: Step | None = field(init=False, compare=False, repr=False)
    plain: frozenset[str] = field(init=False, compare=False, repr=False)
    owed: dict[tuple[str, ...], Any] = field(init=False, compare=False, repr=False)
    owed_back: dict[tuple[str, ...], Any] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        needed_by = {
            step.name: tuple(other.name for other in self.steps if step.name in other.after)
            for step in self.steps
        }
        behind: dict[str, frozenset[str]] = {}
        for step in reversed(self.steps):
            next_ones = needed_by[step.name]
            behind[step.name] = frozenset(next_ones).union(*(behind[name] for name in next_ones))
        # A frozen dataclass lets its own __post_init__ set derived fields only this way.
        object.__setattr__(self, "by_name", {step.name: step for step in self.steps})
        object.__setattr__(self, "needed_by", needed_by)
        object.__setattr__(self, "behind", behind)
        plain = (s.name for s in self.steps if s.wait is None and s.each is None and not s.is_child)
        object.__setattr__(self, "plain", frozenset(plain))
        object.__setattr__(self, "owed", {})
        object.__setattr__(self, "owed_back", {})
        object.__setattr__(self, "pivot", next((s for s in self.steps if s.kind is Kind.PIVOT), None))


def graph_of(
    saga: str,
    steps: Iterable[Step],
    *,
    version: str,
    deadline_seconds: float | None = None,
    returns: str | None = None,
) -> Graph:
    """Return the checked graph of *steps*: ordered, with the steps behind the pivot marked.

    Raises:
        DefinitionError: Two steps of one name, a need that is no step, a cycle, a second pivot, or
            a step behind the pivot that may fail for good.
    """
    declared: dict[str, Step] = {}
    for step in steps:
        if step.name in declared:
            raise DefinitionError(f"saga {saga} has two steps named {step.name!r}: rename one")
        declared[step.name] = step
    for step in declared.values():
        _check_needs(saga, step, declared)
    ordered = [declared[name] for name in _order(saga, {s.name: s.needs for s in declared.values()})]
    pivots = [step.name for step in ordered if step.kind is Kind.PIVOT]
    if len(pivots) > 1:
        raise DefinitionError(
            f"saga {saga} has two pivots, {pivots[0]!r} and {pivots[1]!r}: "
            "there is one point of no return; make the later one a step"
        )
    behind = _behind(ordered, pivots)
    before = tuple(step.name for step in ordered if step.name not in behind and step.name not in pivots)
    shaped = []
    for step in ordered:
        if step.kind is Kind.PIVOT:
            _check_pivot(saga, step)
            shaped.append(replace(step, after=before))
        elif step.name in behind:
            _check_retriable(saga, step)
            shaped.append(replace(step, kind=Kind.RETRIABLE, after=step.needs))
        else:
            shaped.append(replace(step, after=step.needs))
    shaped = [s for s in shaped if s.name in before] + [s for s in shaped if s.name not in before]
    return Graph(saga, version, tuple(shaped), deadline_seconds, returns)


def _order(saga: str, needs: dict[str, tuple[str, ...]]) -> list[str]:
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        circle = " → ".join(reversed(error.args[1]))
        raise DefinitionError(
            f"the steps of {saga} need each other in a circle: {circle}; take one need away"
        ) from error


def _check_needs(saga: str, step: Step, declared: dict[str, Step]) -> None:
    for need in step.needs:
        if need not in declared:
            raise DefinitionError(
                f"step {step.name!r} of {saga} needs {need!r}, which is no step; declare it"
            )
    if step.at_once < 1:
        raise DefinitionError(
            f"step {step.name!r} of {saga} runs {step.at_once} items at once: "
            "it would never end; give 1 or more"
        )
    if step.wait is not None and step.wait.signal is None and step.wait.seconds is None:
        raise DefinitionError(
            f"step {step.name!r} of {saga} waits for nothing: it would never run; "
            "give the wait a signal or seconds"
        )


def _behind(ordered: list[Step], pivots: list[str]) -> set[str]:
    behind: set[str] = set()
    for step in ordered:
        if any(need in behind or need in pivots for need in step.needs):
            behind.add(step.name)
    return behind


def _check_pivot(saga: str, step: Step) -> None:
    if step.is_child:
        raise DefinitionError(
            f"pivot {step.name!r} of {saga} runs a child: "
            "a child may still be undone when it has ended; let a step of this saga be the pivot"
        )
    if step.has_undo:
        raise DefinitionError(
            f"pivot {step.name!r} of {saga} has a compensation: "
            "nothing is undone behind the point of no return; drop it, or make the pivot a step"
        )
    if step.each is not None:
        raise DefinitionError(
            f"pivot {step.name!r} of {saga} runs over a list: "
            "some items could pass the point of no return alone; make it one step"
        )


def _check_retriable(saga: str, step: Step) -> None:
    if step.is_child:
        raise DefinitionError(
            f"step {step.name!r} of {saga} stands behind the pivot and runs a child: "
            "a child may be refused and nothing is undone there; start it as a saga of its own"
        )
    if step.has_undo:
        raise DefinitionError(
            f"step {step.name!r} of {saga} stands behind the pivot and has a compensation: "
            "nothing is undone there; drop the compensation or the need of the pivot"
        )
    if step.retry.attempts is not None:
        raise DefinitionError(
            f"step {step.name!r} of {saga} stands behind the pivot and gives up after "
            f"{step.retry.attempts} attempts: it must go on until it succeeds; use finality.FOREVER"
        )
    wait = step.wait
    if wait is not None and wait.signal and wait.seconds is not None and wait.default is None:
        raise DefinitionError(
            f"step {step.name!r} of {saga} stands behind the pivot and its signal may never come: "
            "it cannot be refused there; give the signal a default"
        )
