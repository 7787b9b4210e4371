"""Counts the effects of a saga's steps: each run of a step leaves a row in the transaction of its effect.

The rows are the kit's own and know nothing of journal and witness, so they can testify against
both: what was committed twice left two rows.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from finality.core.errors import Refused
from finality.core.saga.events import split_branch
from finality.patterns.saga import Saga, children_of, definition_of
from finality.runtime.definition import Action, Attempt, Definition, Parameter, Source, StepCode, Style
from finality.testing.world import World

TABLE = "testkit_effect"
CREATE = f"CREATE TABLE {TABLE} (saga TEXT, branch TEXT, operation TEXT)"
INSERT = f"INSERT INTO {TABLE} VALUES (?, ?, ?)"  # noqa: S608  # a constant
SELECT = f"SELECT saga, branch, operation, count(*) FROM {TABLE} GROUP BY 1, 2, 3"  # noqa: S608  # a constant
ACTION, COMPENSATION = "action", "compensation"

Key = tuple[str, str, str]
"""A saga's id, its branch, and which operation of it."""


@dataclass(slots=True)
class Watch:
    """What was seen of a saga's code while it ran.

    Attributes:
        refused_step: The step that refuses instead of running, if one does.
        runs: How often each operation was begun, also where nothing of it remained.
    """

    refused_step: str | None = None
    runs: Counter[Key] = field(default_factory=Counter)


@contextmanager
def watched(sagas: Iterable[type[Saga]], watch: Watch) -> Iterator[None]:
    """Count the effects of *sagas* and of the sagas that their steps run, while the block lasts."""
    before = definitions_of(sagas)
    try:
        for saga, definition in before.items():
            _put(saga, _watched(definition, watch))
        yield
    finally:
        for saga, definition in before.items():
            _put(saga, definition)


def definitions_of(sagas: Iterable[type[Saga]]) -> dict[type[Saga], Definition]:
    """Return the definitions of *sagas* and of the sagas that their steps run."""
    found: dict[type[Saga], Definition] = {}
    waiting = list(sagas)
    while waiting:
        saga = waiting.pop()
        if saga not in found:
            found[saga] = definition_of(saga)
            waiting += children_of(saga)
    return found


def codes_of(sagas: Iterable[type[Saga]]) -> dict[tuple[str, str], StepCode]:
    """Return what runs for each (saga, step)."""
    return {
        (definition.kind, name): code
        for definition in definitions_of(sagas).values()
        for name, code in definition.codes.items()
    }


def takes_tx(action: Action) -> bool:
    """Say whether the function gets a transaction, so that its effects are counted."""
    return any(parameter.source is Source.TX for parameter in action.parameters)


def prepare(world: World) -> None:
    """Create the table of effects in every store of *world*."""
    for store in world.places:
        world.execute(CREATE, at=store)


def effects_in(world: World) -> Counter[Key]:
    """Return how often each operation has taken effect, in all stores together."""
    found: Counter[Key] = Counter()
    for store in world.places:
        for saga, branch, operation, count in world.query(SELECT, at=store):
            found[saga, branch, operation] += count
    return found


def _put(saga: type[Saga], definition: Definition) -> None:
    # The cache that ``definition_of`` keeps with each class: the node finds our definition there.
    saga.__definition__ = definition  # type: ignore[attr-defined]  # a cache, which no user declares


def _watched(definition: Definition, watch: Watch) -> Definition:
    graph = definition.graph
    codes = {
        name: _watched_code(code, watch, is_child=graph.by_name[name].is_child)
        for name, code in definition.codes.items()
    }
    return replace(definition, codes=codes)


def _watched_code(code: StepCode, watch: Watch, *, is_child: bool) -> StepCode:
    if is_child:
        return code
    compensation = code.compensation and _watched_action(code.compensation, watch, COMPENSATION)
    return replace(code, action=_watched_action(code.action, watch, ACTION), compensation=compensation)


def _watched_action(action: Action, watch: Watch, operation: str) -> Action:
    place = next((i for i, p in enumerate(action.parameters) if p.source is Source.TX), None)
    around = _around_async if action.style in (Style.SCOPE, Style.TASK) else _around
    return replace(
        action,
        function=around(action.function, place, watch, operation),
        parameters=(Parameter(Source.ATTEMPT), *action.parameters),
    )


def _before(attempt: Attempt, watch: Watch, operation: str) -> Key:
    key = (attempt.transaction_id, attempt.step, operation)
    watch.runs[key] += 1
    if operation == ACTION and split_branch(attempt.step)[0] == watch.refused_step:
        raise Refused(f"the test kit lets {watch.refused_step!r} refuse")
    return key


def _around(
    function: Callable[..., Any], place: int | None, watch: Watch, operation: str
) -> Callable[..., Any]:
    def run(saga: Any, attempt: Attempt, *arguments: Any) -> Any:
        key = _before(attempt, watch, operation)
        answer = function(saga, *arguments)
        if place is not None:
            arguments[place].execute(INSERT, *key)
        return answer

    return run


def _around_async(
    function: Callable[..., Any], place: int | None, watch: Watch, operation: str
) -> Callable[..., Any]:
    async def run(saga: Any, attempt: Attempt, *arguments: Any) -> Any:
        key = _before(attempt, watch, operation)
        answer = function(saga, *arguments)
        if inspect.isawaitable(answer):
            answer = await answer
        if place is not None:
            # At the end, so that the store's write turn is taken when the step itself takes it.
            await arguments[place].execute(INSERT, *key)
        return answer

    return run
