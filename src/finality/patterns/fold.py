"""A fold as users write it: a function that takes a state and an event, and returns the next state."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from finality.core.errors import DefinitionError
from finality.patterns.projection import taken_events
from finality.patterns.signature import hints_of, local_names, signature_of
from finality.runtime.definition import Style
from finality.runtime.sourcing.kind import EventType


@dataclass(frozen=True, slots=True)
class FoldCode:
    """A function that folds, and the events that it takes, by the names of the journal."""

    function: Callable[..., Any]
    types: Mapping[str, EventType]


def fold_code(function: Callable[..., Any], *, depth: int) -> FoldCode:
    """Return *function* with the events that its annotations name.

    Args:
        depth: How far up the function stands whose local names the annotations may use.

    Raises:
        DefinitionError: They name none, or it has to be awaited.
    """
    frame = sys._getframe(depth)
    local = {} if frame.f_locals is frame.f_globals else frame.f_locals
    who = f"fold {getattr(function, '__name__', function)!r}"
    signature = signature_of(function, who, is_method=False)
    hints = hints_of(function, function.__annotations__, local_names(function, local), who)
    names = signature.names
    if len(names) != 2 or names[1] not in hints or signature.style is not Style.BLOCKING:
        raise DefinitionError(
            f"{who} takes ({', '.join(names)}): a fold is a plain function (state, event: YourEvent) -> "
            "state, and the annotation of the second parameter names the events"
        )
    _, types = taken_events(hints[names[1]])
    return FoldCode(function, types)
