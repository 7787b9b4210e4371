"""The shape of a saga as its declaration has it: the graph, and the version derived from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from finality.adapters.msgspec.codec import JsonCodec
from finality.core.backoff import DEFAULT, FOREVER, PATIENT
from finality.core.errors import DefinitionError
from finality.core.saga import Graph, Kind, Step, Wait, graph_of
from finality.patterns.options import ABSENT, Signal, Timer
from finality.patterns.part import Part, did_you_mean
from finality.patterns.signature import text_of


def graph_for(saga: str, parts: Mapping[str, Part], deadline: timedelta | None, returns: str | None) -> Graph:
    """Return the checked graph of *parts*, complete but for its version.

    Raises:
        DefinitionError: The steps do not make a saga.
    """
    if returns is not None and returns not in parts:
        raise DefinitionError(
            f"{saga} returns {returns!r}, which is no step of it{did_you_mean(returns, parts)}"
        )
    if returns is None:
        needed = {need for part in parts.values() for need in part.needs}
        last = [name for name in parts if name not in needed]
        returns = last[0] if len(last) == 1 else None
    seconds = None if deadline is None else deadline.total_seconds()
    steps = [_step(part) for part in parts.values()]
    # Which steps stand behind the pivot, and so are tried for ever by default, is the graph's to say.
    kinds = {step.name: step.kind for step in graph_of(saga, steps, version="").steps}
    steps = [_with_default_retry(step, kinds[step.name], parts[step.name]) for step in steps]
    return graph_of(saga, steps, version="", deadline_seconds=seconds, returns=returns)


def _step(part: Part) -> Step:
    declared, options = part.declared, part.options
    return Step(
        part.name,
        part.needs,
        declared.kind,
        # In the home store a step's effect and its event are one commit. A child starts in the commit
        # that records it, so that its answer cannot be lost either.
        is_local=(part.action.signature.takes_tx and options.at is None) or declared.is_child,
        has_undo=part.compensation is not None,
        retry=options.retry or FOREVER,
        undo_retry=declared.undo_retry or PATIENT,
        wait=_wait(part.action.who, options.wait_for),
        each=options.each,
        at_once=options.at_once,
        is_child=declared.is_child,
        is_conditional=options.when is not None,
    )


def _with_default_retry(step: Step, kind: Kind, part: Part) -> Step:
    if part.options.retry is not None:
        return step
    is_endless = kind is Kind.RETRIABLE or (kind is Kind.PIVOT and not step.is_local)
    return replace(step, retry=FOREVER if is_endless else DEFAULT)


def _wait(who: str, wait: Signal | Timer | None) -> Wait | None:
    match wait:
        case None:
            return None
        case Timer(after):
            return Wait(None, after.total_seconds())
        case Signal(name, within, default):
            seconds = None if within is None else within.total_seconds()
            if default is ABSENT:
                return Wait(name, seconds)
            try:
                return Wait(name, seconds, JsonCodec().encode(default))
            except TypeError as error:
                raise DefinitionError(
                    f"{who} has a default for signal {name!r} that JSON cannot carry: {error}"
                ) from error


def ancestors_of(graph: Graph, name: str) -> set[str]:
    """Return the steps that are settled whenever *name* runs, because it needs them."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for need in graph.by_name[waiting.pop()].needs:
            if need not in found:
                found.add(need)
                waiting.append(need)
    return found


def version_of(
    graph: Graph, parts: Mapping[str, Part], fields: Mapping[str, Any], types: Mapping[str, Any]
) -> str:
    """Return the version of a shape: eight hex digits that change when an open saga could not go on.

    What a step does, how often it is tried and how long it may take can change under an open
    saga; what it is called, needs, yields and waits for cannot.

    Args:
        fields: The types of the saga's fields, by name.
        types: The types of the steps' results and, as ``step?signal``, of their signals.
    """
    steps = [
        {
            "name": step.name,
            "needs": sorted(step.needs),
            "kind": step.kind.value,
            "local": step.is_local,
            "undo": step.has_undo,
            "each": step.each,
            "child": step.is_child,
            "waits": None if step.wait is None else step.wait.signal or "a timer",
            "conditional": step.is_conditional,
            "at": parts[step.name].options.at,
        }
        for step in sorted(graph.steps, key=lambda step: step.name)
    ]
    shape = {
        "saga": graph.saga,
        "returns": graph.returns,
        "steps": steps,
        "fields": {name: text_of(hint) for name, hint in fields.items()},
        "types": {name: text_of(hint) for name, hint in types.items()},
    }
    text = json.dumps(shape, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode()).hexdigest()[:8]
