"""A reaction as the runtime runs it: what it takes, what it answers, and how it is called.

``patterns`` makes it from the function that users write.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from finality.core.backoff import Retry
from finality.core.envelope import Envelope
from finality.core.request import Reply, reply_of
from finality.runtime.definition import Style

ANY = ""  # Among the types that a reaction takes: those of all events; no event has such a type.


class Against(Enum):
    """What a reaction has to do with another one of its run.

    UNDO: it undoes what that one has done; one that has not answered yet never will.
    UNLESS: it runs only if that one has not answered, which then never will.
    """

    UNDO = "undoes"
    UNLESS = "unless"


@dataclass(slots=True, eq=False)
class ReactionCode:
    """A function of the user's that is called once for each event.

    Attributes:
        takes: The classes of the events that it takes, by the type names that events carry.
        answers: The classes of the events that it may return, likewise.
        may_be_silent: It may return None.
        publish: The topic that its answers go to.
        retry: While its key waits; then the event is parked, or moved to the retry topic.
        later: From there, by itself; then a person is needed.
        timeout_seconds: How long one attempt of an ``async`` function may take.
        is_batch: It takes a list of events.
        takes_answer: The answers of the undone reaction that a third parameter gets; none: there is none.
        is_raw: Ours: it gets the store's own transaction, and the event as its envelope.
        retry_topic: Where an event goes that has failed, so that its key goes on; empty: it is parked.
        dead_letters: Where an event is published that only a person can help; empty: nowhere.
        store: The store that it works in; None is the home store.
        against: The reaction that this one undoes, or runs instead of.
        is_answered_once: Another one undoes it, or runs instead of it: it answers once a run.
        heard: Ours: called on the event loop once the turn is durable that it ran in, in the home store.
    """

    name: str
    topic: str
    consumer: str
    function: Callable[..., Any]
    style: Style
    takes: Mapping[str, Any]
    answers: Mapping[str, Any]
    may_be_silent: bool
    publish: str
    retry: Retry
    later: Retry
    concurrency: int
    is_batch: bool = False
    takes_answer: frozenset[str] = frozenset()
    store: str | None = None
    against: tuple[Against, ReactionCode] | None = None
    is_answered_once: bool = False
    is_raw: bool = False
    retry_topic: str = ""
    dead_letters: str = ""
    timeout_seconds: float | None = None
    heard: Callable[[Sequence[Any]], None] | None = None

    @property
    def reader(self) -> str:
        """Return whose progress it is: that of a consumer in a topic."""
        return reader_of(self.consumer, self.topic)

    def reply(self, event: Envelope) -> Reply | None:
        """Return where its answer to *event* is awaited; None if nobody awaits one of it."""
        return reply_of(event) if self.answers else None

    @property
    def branch(self) -> str:
        """Return what a run knows it by."""
        return f"{self.consumer}/{self.name}"


def reader_of(consumer: str, topic: str) -> str:
    """Return what the reader of a topic is called that works for a consumer."""
    return f"{consumer}/{topic}"
