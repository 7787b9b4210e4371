"""What a saga's class body says, checked as soon as the class exists: names, needs, the graph.

Types come later, see ``definition``: an annotation may name what is defined further down.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from finality.core.errors import DefinitionError
from finality.core.saga import Graph
from finality.patterns.countermeasures.pessimistic_view import check_view
from finality.patterns.options import check_timeout, positive
from finality.patterns.part import Method, Part, did_you_mean
from finality.patterns.shape import ancestors_of, graph_for
from finality.patterns.signature import ATTEMPT, ITEM, RESERVED, TX, signature_of
from finality.patterns.step import DeclaredStep

Accepts = Iterable[str] | Mapping[str, Mapping[str, str]]

VERSION = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Declaration:
    """One saga class, as far as names go.

    Attributes:
        graph: Complete but for its version, which depends on the types.
        scope: The local names that its annotations may use, if it was defined in a function.
    """

    saga: str
    parts: Mapping[str, Part]
    graph: Graph
    accepts: Mapping[str, Mapping[str, str]]
    scope: Mapping[str, Any]
    deadline: timedelta | None = None
    returns: str | None = None


def declare(
    cls: type, deadline: timedelta | None, returns: str | None, accepts: Accepts, scope: Mapping[str, Any]
) -> Declaration:
    """Return what the body of *cls* says.

    Raises:
        DefinitionError: It cannot be a saga.
    """
    saga = cls.__name__
    steps = steps_of(cls)
    _check_names(saga, steps, fields_of(cls))
    undos = {step.compensation for step in steps.values() if step.compensation is not None}
    parts = {name: _part(cls, name, step, steps, undos) for name, step in steps.items()}
    for step in steps.values():
        step.is_sealed = True
    if deadline is not None:
        positive(deadline, f"the deadline of {saga}")
    graph = graph_for(saga, parts, deadline, returns)
    for part in parts.values():
        _check_compensation(saga, part, graph)
        _check_view(saga, part, graph)
    return Declaration(saga, parts, graph, _accepted(saga, accepts, parts), scope, deadline, returns)


def steps_of(cls: type) -> dict[str, DeclaredStep[Any, Any]]:
    """Return the steps of *cls* and of the sagas that it extends, in the order of their declaration."""
    steps: dict[str, DeclaredStep[Any, Any]] = {}
    for owner in reversed(cls.__mro__):
        for name, value in vars(owner).items():
            if isinstance(value, DeclaredStep):
                if name in steps and value.compensation is None and not value.is_sealed:
                    # What undid the step that this one stands in for undoes this one as well.
                    value.compensation, value.undo_retry = steps[name].compensation, steps[name].undo_retry
                steps[name] = value
            elif name in steps:
                raise DefinitionError(
                    f"{name!r} is a step, and {owner.__name__} makes it something else: "
                    "decorate it with @finality.step there, or give it another name"
                )
    return steps


def fields_of(cls: type) -> dict[str, Any]:
    """Return the annotations of the fields of *cls* and of the sagas that it extends, unresolved."""
    annotations: dict[str, Any] = {}
    for owner in reversed(cls.__mro__):
        own = vars(owner).get("__annotations__", {})
        annotations.update((name, hint) for name, hint in own.items() if not _is_class_variable(hint))
    return annotations


def _is_class_variable(hint: Any) -> bool:
    return "ClassVar" in (hint if isinstance(hint, str) else repr(hint))


def _check_names(saga: str, steps: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
    for name in steps:
        if name in RESERVED:
            raise DefinitionError(
                f"{saga} has a step named {name!r}: that name is reserved for what a step is given; "
                "name it for what it yields"
            )
        if name in fields:
            raise DefinitionError(
                f"{name!r} is a field of {saga} and a step: a parameter of that name could mean either; "
                "rename one"
            )


def _part(
    cls: type,
    name: str,
    step: DeclaredStep[Any, Any],
    steps: Mapping[str, DeclaredStep[Any, Any]],
    undos: set[Callable[..., Any]],
) -> Part:
    saga, options = cls.__name__, step.options
    who = f"{'child' if step.is_child else 'step'} {name!r} of {saga}"
    action = Method(step.function, signature_of(step.function, who), who)
    _check_options(action, step)
    needs = list(_needs(saga, f"{'child' if step.is_child else 'step'} {name!r}", action, step, steps, cls))
    condition = None
    if options.when is not None:
        who = f"the condition of step {name!r} of {saga}"
        condition = Method(options.when, signature_of(options.when, who), who)
        _check_condition(condition)
        needs += _needs(saga, f"the condition of step {name!r}", condition, step, steps, cls)
    if options.each is not None and options.each not in fields_of(cls):
        if options.each not in steps:
            known = [*fields_of(cls), *(other for other in steps if other != name)]
            raise DefinitionError(
                f"step {name!r} runs over {options.each!r}, which is no field and no step of {saga}"
                f"{did_you_mean(options.each, known)}"
            )
        needs.append(options.each)
    compensation = None
    if step.compensation is not None:
        function = _overriding(cls, step.compensation, undos)
        who = f"compensation {function.__name__!r} of step {name!r} of {saga}"
        compensation = Method(function, signature_of(function, who), who)
    return Part(name, step, action, tuple(dict.fromkeys(needs)), condition, compensation)


def _overriding(
    cls: type, function: Callable[..., Any], undos: set[Callable[..., Any]]
) -> Callable[..., Any]:
    """Return the method that stands in for *function* in *cls*, as with any other method."""
    for owner in cls.__mro__:
        found = vars(owner).get(function.__name__)
        if found is function or found in undos:
            break
        if callable(found):
            return found  # type: ignore[no-any-return]  # callable() narrows to an unspecified callable
    return function


def _check_options(action: Method, step: DeclaredStep[Any, Any]) -> None:
    who, options, takes_tx = action.who, step.options, action.signature.takes_tx
    if step.is_child and (takes_tx or action.signature.style.value == "task"):
        raise DefinitionError(
            f"{who} only says which saga to run: make it a plain def without tx that returns the child"
        )
    check_timeout(options.timeout, action.signature.style, who)
    if options.at is not None and not takes_tx:
        raise DefinitionError(
            f"{who} is at {options.at!r} and takes no tx: it works in no store; take tx or drop at="
        )
    if ITEM in action.signature.names and options.each is None:
        raise DefinitionError(f"{who} takes 'item' and runs over no list: say which, as in each='tracks'")
    signal = options.signal
    if signal in RESERVED:
        raise DefinitionError(
            f"{who} waits for a signal named {signal!r}: that name is reserved; choose another"
        )


def _check_condition(condition: Method) -> None:
    if condition.signature.style.value != "blocking":
        raise DefinitionError(
            f"{condition.who} is async or takes tx: it decides on what is known; "
            "make it a plain function of self and steps"
        )
    for name in (ATTEMPT, ITEM):
        if name in condition.signature.names:
            raise DefinitionError(
                f"{condition.who} takes {name!r}: it is asked once, before the step runs; take self and steps"
            )


def _needs(
    saga: str,
    who: str,
    method: Method,
    step: DeclaredStep[Any, Any],
    steps: Mapping[str, DeclaredStep[Any, Any]],
    cls: type,
) -> Iterable[str]:
    signal = step.options.signal
    if signal is not None and signal in steps:
        raise DefinitionError(
            f"{who} waits for signal {signal!r}, which is a step of {saga} too: "
            "a parameter of that name could mean either; rename one"
        )
    for name in method.signature.names:
        if name in RESERVED or name == signal:
            continue
        if name in fields_of(cls):
            raise DefinitionError(f"{who} needs {name!r}, which is a field of {saga}: read it as self.{name}")
        if name not in steps:
            known = [
                other for other in (*steps, *RESERVED, *([signal] if signal else ())) if other != step.name
            ]
            raise DefinitionError(
                f"{who} needs {name!r}, which no step of {saga} yields{did_you_mean(name, known)}"
            )
        yield name


def _check_compensation(saga: str, part: Part, graph: Graph) -> None:
    if part.compensation is None:
        return
    who = f"compensation {part.compensation.function.__name__!r} of step {part.name!r}"
    sure = ancestors_of(graph, part.name)
    for name in part.compensation.signature.names:
        if name == ITEM and part.options.each is None:
            raise DefinitionError(f"{who} takes 'item', and the step runs over no list: drop it")
        if name in (TX, ATTEMPT, ITEM, part.name) or name in sure:
            continue
        if name in graph.by_name:
            raise DefinitionError(
                f"{who} takes {name!r}, which may not be done when {part.name!r} is undone: "
                f"take {part.name!r} or what it needs, or let {part.name!r} need {name!r}"
            )
        raise DefinitionError(
            f"{who} takes {name!r}, which no step of {saga} yields"
            f"{did_you_mean(name, [part.name, *sorted(sure)])}"
        )


def _check_view(saga: str, part: Part, graph: Graph) -> None:
    step, options = graph.by_name[part.name], part.options
    check_view(
        saga, step.name, step.kind, raises=options.raises, lowers=options.lowers, has_undo=step.has_undo
    )


def _accepted(saga: str, accepts: Accepts, parts: Mapping[str, Part]) -> dict[str, Mapping[str, str]]:
    if isinstance(accepts, str):
        raise DefinitionError(
            f"{saga} accepts {accepts!r}: give a tuple of versions, as in accepts=({accepts!r},)"
        )
    renamed = dict(accepts) if isinstance(accepts, Mapping) else {version: {} for version in accepts}
    for version, names in renamed.items():
        if not VERSION.fullmatch(version):
            raise DefinitionError(
                f"{saga} accepts {version!r}: a version is eight hex digits, as in '3f2a9c01'"
            )
        for old, new in names.items():
            if new not in parts:
                raise DefinitionError(
                    f"{saga} accepts {version} with step {old!r} renamed to {new!r}, which is no step of it"
                    f"{did_you_mean(new, parts)}"
                )
    return renamed


def local_scope(cls: type, depth: int) -> dict[str, Any]:
    """Return the local names that the annotations of *cls* may use, if a function defines it.

    Only names that occur in them are kept, so that a class does not keep its function's other
    locals alive.
    """
    frame = sys._getframe(depth + 1)
    if frame.f_locals is frame.f_globals:
        return {}
    texts = [str(hint) for hint in vars(cls).get("__annotations__", {}).values()]
    for value in vars(cls).values():
        function = value.function if isinstance(value, DeclaredStep) else value
        texts += [str(hint) for hint in getattr(function, "__annotations__", {}).values()]
    words = set(re.findall(r"\w+", " ".join(texts)))
    return {name: value for name, value in frame.f_locals.items() if name in words}
