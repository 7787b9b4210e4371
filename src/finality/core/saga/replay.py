"""From a stream back to a state, also when the saga has changed its definition on the way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from finality.core.protocol import fold
from finality.core.saga.events import Migrated, SagaEvent, branch_name, split_branch
from finality.core.saga.graph import Graph
from finality.core.saga.state import SagaState, evolve, new_state


class UnknownStep(LookupError):
    """The stream tells of a step that the graph does not have."""


def replay(graph: Graph, events: Iterable[SagaEvent]) -> SagaState:
    """Return the state of the saga whose stream is *events*.

    Raises:
        UnknownStep: The graph belongs to another version of the definition.
    """
    told = list(events)
    for place, event in enumerate(told):
        if isinstance(event, Migrated) and event.renamed:
            told[:place] = [rename(earlier, event.renamed) for earlier in told[:place]]
    for event in told:
        step = getattr(event, "step", None)
        if step is not None and split_branch(step)[0] not in graph.by_name:
            raise UnknownStep(
                f"it tells of step {split_branch(step)[0]!r}, which version {graph.version} of "
                f"{graph.saga} does not have"
            )
    return fold(evolve, new_state(graph), told)


def rename(event: SagaEvent, names: dict[str, str]) -> SagaEvent:
    """Return *event* with the step's new name."""
    branch = getattr(event, "step", None)
    if branch is None:
        return event
    step, item = split_branch(branch)
    if step not in names:
        return event
    renamed = names[step] if item is None else branch_name(names[step], item)
    return replace(event, step=renamed)  # type: ignore[arg-type]  # it has a step, as was seen above
