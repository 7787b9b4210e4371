"""The events of a program: what it publishes and what it reacts to, as its modules declare it.

A reaction says by its annotations what it takes and what it answers, and a choreography by its
reactions. What is published by ``tx.publish`` alone, and what is asked, is said by the module, in constants:

    PUBLISHES = {"orders": OrderPlaced | OrderCancelled}
    REQUESTS = {"quotes": {GetQuote: Quote}}
"""

from __future__ import annotations

import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import ModuleType
from typing import Any

from finality.core.errors import DefinitionError
from finality.patterns.choreography import Choreography
from finality.patterns.reaction import Reaction
from finality.ports.topic_names import check_topic

PUBLISHES, REQUESTS = "PUBLISHES", "REQUESTS"
MOVED = "Moved here when its reaction fails, to be tried again."
BURIED = "Published when only a person can help it."
Key = tuple[str, str]
"""The topic and the type name of an event, by which its schema is kept."""


class Station(Enum):
    """Where an event is: on its topic, or where it was moved since its reaction failed."""

    TOPIC = "event"
    RETRY = "retry"
    DEAD = "deadLetter"


@dataclass(frozen=True, slots=True)
class Use:
    """What a part of a program does with events of one topic.

    Attributes:
        by: The part's name: ``consumer.reaction``, or a module's.
        is_published: It publishes them; otherwise it reacts to them.
        events: The classes, by the type names that events carry.
        about: What its docstring says first.
        answer: What it publishes in answer; to whoever asked, if the event is a request. Of what is
            published: what is awaited in answer.
        station: What the topic is for.
        home: The topic on which the events were before; by default this one.
    """

    by: str
    topic: str
    is_published: bool
    events: Mapping[str, Any]
    about: str = ""
    answer: Use | None = None
    station: Station = Station.TOPIC
    home: str = ""

    @property
    def keys(self) -> list[Key]:
        """Return the key of each event."""
        return [(self.home or self.topic, name) for name in self.events]


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
            uses.append(Use(module.__name__, check_topic(topic), True, _classes(events, module, PUBLISHES)))
        for topic, asked in getattr(module, REQUESTS, {}).items():
            uses += _asked(module, check_topic(topic), asked)
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


def events_of(uses: Collection[Use]) -> dict[Key, Any]:
    """Return the classes of all events and awaited answers, by topic and type name, in order.

    Raises:
        DefinitionError: Two classes of a topic share a name.
    """
    found: dict[Key, Any] = {}
    awaited = [use.answer for use in uses if use.is_published and use.answer is not None]
    for use in (*uses, *awaited):
        for (topic, name), cls in zip(use.keys, use.events.values(), strict=True):
            other = found.setdefault((topic, name), cls)
            if other is not cls:
                raise DefinitionError(
                    f"topic {topic!r} has two events called {name}: of {other.__module__} and of "
                    f"{cls.__module__}; events travel under that name, so use one class, or rename one"
                )
    return dict(sorted(found.items()))


def _uses_of(reaction: Reaction[..., Any]) -> list[Use]:
    code = reaction.code
    by, about = f"{code.consumer}.{code.name}", (reaction.__doc__ or "").strip().partition("\n")[0]
    answer = Use(by, code.publish, True, code.answers, about) if code.answers else None
    uses = [Use(by, code.topic, False, code.takes, about, answer), *([answer] if answer else [])]
    if code.retry_topic:
        moved = Use(by, code.retry_topic, True, code.takes, MOVED, None, Station.RETRY, code.topic)
        uses += [moved, replace(moved, is_published=False, about=about, answer=answer)]
    if code.dead_letters:
        uses.append(Use(by, code.dead_letters, True, code.takes, BURIED, None, Station.DEAD, code.topic))
    return uses


def _asked(module: ModuleType, topic: str, asked: Mapping[Any, Any]) -> Iterator[Use]:
    """Return what *module* asks on a topic, each question with its answers."""
    by = module.__name__
    for question, answers in asked.items():
        answer = Use(by, topic, False, _classes(answers, module, REQUESTS))
        yield Use(by, topic, True, _classes(question, module, REQUESTS), answer=answer)


def _expiry_of(choreography: Choreography) -> Use:
    name = choreography.code.shape.expires
    cls = next(each.code.takes[name] for each in choreography.reactions if name in each.code.takes)
    about = "Published when the deadline of a run has passed."
    return Use(choreography.name, choreography.code.expires_on, True, {name: cls}, about)


def _classes(events: Any, module: ModuleType, constant: str) -> dict[str, Any]:
    is_union = typing.get_origin(events) in (typing.Union, types.UnionType)
    parts = typing.get_args(events) if is_union else (events,)
    for part in parts:
        if not isinstance(part, type):
            raise DefinitionError(
                f"{constant} of {module.__name__} names {part!r}, which is no class: name your events, "
                "with | between"
            )
    return {part.__name__: part for part in parts}
