"""The events of a program: what it publishes and what it reacts to, as its modules declare it.

A reaction says by its annotations what it takes and what it answers, and a choreography by its
reactions. What is published by ``tx.publish`` alone is said by the module, in a constant:

    PUBLISHES = {"orders": OrderPlaced | OrderCancelled}
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from finality.core.errors import DefinitionError
from finality.patterns.choreography import Choreography
from finality.patterns.reaction import Reaction
from finality.ports.topic_names import check_topic

PUBLISHES = "PUBLISHES"


@dataclass(frozen=True, slots=True)
class Use:
    """What a part of a program does with events of one topic.

    Attributes:
        by: The part's name: ``consumer.reaction``, or a module's.
        is_published: It publishes them; otherwise it reacts to them.
        events: The classes, by the type names that events carry.
        about: What its docstring says first.
        answer: What it publishes in answer; to whoever asked, if the event is a request.
    """

    by: str
    topic: str
    is_published: bool
    events: Mapping[str, Any]
    about: str = ""
    answer: Use | None = None


def catalog_of(modules: Iterable[ModuleType]) -> list[Use]:
    """Return what *modules* do with events, each use once.

    Raises:
        DefinitionError: They do nothing with events, or two classes of a topic share a name.
    """
    reactions: dict[int, Reaction[..., Any]] = {}
    uses: list[Use] = []
    names: list[str] = []
    for module in modules:
        names.append(module.__name__)
        for topic, events in getattr(module, PUBLISHES, {}).items():
            uses.append(Use(module.__name__, check_topic(topic), True, _classes(events, module)))
        for value in vars(module).values():
            found = [value] if isinstance(value, Reaction) else []
            if isinstance(value, Choreography):
                found += value.reactions
                uses.append(_expiry_of(value))
            reactions.update((id(reaction), reaction) for reaction in found)
    for reaction in reactions.values():
        uses += _uses_of(reaction)
    if not uses:
        raise DefinitionError(
            f"{', '.join(names)} has no event: declare reactions there, or say what it publishes, as in "
            f'{PUBLISHES} = {{"orders": OrderPlaced}}'
        )
    events_of(uses)
    return uses


def events_of(uses: Iterable[Use]) -> dict[tuple[str, str], Any]:
    """Return the classes of all events, by topic and type name, in order.

    Raises:
        DefinitionError: Two classes of a topic share a name.
    """
    found: dict[tuple[str, str], Any] = {}
    for use in uses:
        for name, cls in use.events.items():
            other = found.setdefault((use.topic, name), cls)
            if other is not cls:
                raise DefinitionError(
                    f"topic {use.topic!r} has two events called {name}: of {other.__module__} and of "
                    f"{cls.__module__}; events travel under that name, so use one class, or rename one"
                )
    return dict(sorted(found.items()))


def _uses_of(reaction: Reaction[..., Any]) -> list[Use]:
    code = reaction.code
    by, about = f"{code.consumer}.{code.name}", (reaction.__doc__ or "").strip().partition("\n")[0]
    if not code.answers:
        return [Use(by, code.topic, False, code.takes, about)]
    answer = Use(by, code.publish, True, code.answers, about)
    return [Use(by, code.topic, False, code.takes, about, answer), answer]


def _expiry_of(choreography: Choreography) -> Use:
    name = choreography.code.shape.expires
    cls = next(each.code.takes[name] for each in choreography.reactions if name in each.code.takes)
    about = "Published when the deadline of a run has passed."
    return Use(choreography.name, choreography.code.expires_on, True, {name: cls}, about)


def _classes(events: Any, module: ModuleType) -> dict[str, Any]:
    is_union = typing.get_origin(events) in (typing.Union, types.UnionType)
    parts = typing.get_args(events) if is_union else (events,)
    for part in parts:
        if not isinstance(part, type):
            raise DefinitionError(
                f"{PUBLISHES} of {module.__name__} names {part!r}, which is no class: name your events, "
                "with | between"
            )
    return {part.__name__: part for part in parts}
