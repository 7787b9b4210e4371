"""A reaction as users write it: a function that is called once for each event of a topic.

```
    @finality.react("orders", by="stock")
    async def reserve(tx: finality.Tx, placed: OrderPlaced) -> StockReserved | StockRefused:
        await tx.execute("UPDATE shelves SET free = free - 1 WHERE sku = ?", placed.sku)
        return StockReserved(placed.order_id)

    @finality.react("orders", by="stock", undoes=reserve)
    def put_back(tx: finality.SyncTx, failed: PaymentRefused, was: StockReserved | None) -> StockFree: ...
```

The annotations say which events it takes and what it answers; what it returns is published in the
commit of its effect. It stays a function: a unit test calls it like any other.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

from finality.core.backoff import Retry
from finality.core.errors import DefinitionError
from finality.patterns.definition import check_carried, check_tx
from finality.patterns.options import check_timeout
from finality.patterns.part import Method
from finality.patterns.signature import TX, Signature, hints_of, local_names, parts_of, signature_of, text_of
from finality.ports.topic_names import check_group, check_topic
from finality.runtime.reaction import Against, ReactionCode

P = ParamSpec("P")
R = TypeVar("R")

CONCURRENCY = 16  # Keys at once; plain functions take turns in their store anyway, and share commits.
REACTION_RETRY = Retry(attempts=4, first_seconds=0.05, cap_seconds=1.0)  # Under a second; its key waits.
ONCE = Retry(attempts=1)
LATER = Retry(attempts=8, first_seconds=5.0, factor=4.0, cap_seconds=3_600.0)  # Some five hours in all.


class Reaction(Generic[P, R]):
    """A function that reacts to events; call it as what it is.

    Attributes:
        code: What a node runs.
    """

    def __init__(self, function: Callable[P, R], code: ReactionCode) -> None:
        self.function = function
        self.code = code
        self.__doc__ = function.__doc__
        self.__name__ = code.name
        self.__wrapped__ = function

    def __call__(self, *arguments: P.args, **keywords: P.kwargs) -> R:
        """Call the function, as a unit test does; nothing is known again and nothing published."""
        return self.function(*arguments, **keywords)

    def __repr__(self) -> str:
        return f"<reaction {self.code.name} to {self.code.topic} by {self.code.consumer}>"


class Declare(Protocol):
    """Turns a function into a reaction."""

    def __call__(self, function: Callable[P, R], /) -> Reaction[P, R]:
        """Return the reaction that runs *function*."""
        ...


def react(
    topic: str,
    *,
    by: str,
    publish: str | None = None,
    retry: Retry = REACTION_RETRY,
    later: Retry = LATER,
    timeout: timedelta | None = None,
    concurrency: int = CONCURRENCY,
    at: str | None = None,
    undoes: Reaction[..., Any] | None = None,
    unless: Reaction[..., Any] | None = None,
    retry_topic: str | None = None,
    dead_letters: str | None = None,
    depth: int = 1,
) -> Declare:
    """Declare a reaction: ``(tx, event: A | B) -> C | D | None``, or ``(tx, events: list[A]) -> None``.

    Args:
        by: The consumer in whose name it reacts: each consumer gets every event once. Several
            functions of one consumer share a topic if they take different events.
        publish: The topic that its answers go to; by default the one that it reacts to.
        retry: How often it is tried while its key waits, before the event is parked.
        later: How often it is tried again from where it is parked, before a person is needed.
        timeout: How long one attempt of an ``async`` function may take; then it has failed.
        concurrency: Of how many keys events are in hand at once.
        at: The store that it works in; by default the node's own.
        undoes: The reaction that it compensates, in one run (events with one correlation id). A third
            parameter gets what that one has answered, or None; if it has not answered, it never will.
        unless: It runs only if that reaction has not answered in this run, and then that one never will.
        retry_topic: Where an event goes at its first failure, so that its key goes on without it: it is
            tried from there as *later* says, and what comes behind it in its key overtakes it.
        dead_letters: The topic to which an event is published, once, when only a person can help it.
        depth: How far up the function stands whose local names the annotations may use.

    Raises:
        DefinitionError: The declaration cannot keep its promise.
    """
    check_topic(topic), check_topic(publish or topic), check_group(by)
    retry = _check_failing(by, {topic, publish or topic}, retry, retry_topic, dead_letters)
    if concurrency < 1:
        raise DefinitionError(f"the reactions of {by!r} have a concurrency of {concurrency}: give 1 or more")
    frame = sys._getframe(depth)
    local = {} if frame.f_locals is frame.f_globals else frame.f_locals

    def declare(function: Callable[P, R], /) -> Reaction[P, R]:
        who = f"reaction {getattr(function, '__name__', function)!r}"
        against = _against(undoes, unless, at, who)
        signature = signature_of(function, who, is_method=False)
        hints = hints_of(function, function.__annotations__, local_names(function, local), who)
        takes_answer = _check_parameters(signature, hints, against, who)
        check_tx(Method(function, signature, who), hints.get(TX))
        check_timeout(timeout, signature.style, who)
        is_batch, takes = _events(hints[signature.names[1]], who)
        may_be_silent, answers = _answers(hints, is_batch, who)
        code = ReactionCode(
            function.__name__, topic, by, function, signature.style, takes, answers, may_be_silent,
            publish or topic, retry, later, concurrency, is_batch, takes_answer, at, against,
            retry_topic=retry_topic or "", dead_letters=dead_letters or "",
            timeout_seconds=None if timeout is None else timeout.total_seconds(),
        )  # fmt: skip
        _check_against(code, who)
        return Reaction(function, code)

    return declare


def _check_failing(
    by: str, topics: set[str], retry: Retry, retry_topic: str | None, dead_letters: str | None
) -> Retry:
    """Return how often an event is tried while its key waits."""
    for name in (retry_topic, dead_letters):
        if name is None:
            continue
        if check_topic(name) in topics:
            raise DefinitionError(
                f"a reaction of {by!r} puts what has failed on topic {name!r}, where others expect other "
                "events: give retry_topic= and dead_letters= topics of their own"
            )
        topics = {*topics, name}
    if retry_topic is None:
        return retry
    if retry is not REACTION_RETRY:
        raise DefinitionError(
            f"a reaction of {by!r} has retry= and retry_topic=: an event leaves its key at its first "
            "failure; say with later= how often it is tried from the retry topic"
        )
    return ONCE


def _against(
    undoes: Reaction[..., Any] | None, unless: Reaction[..., Any] | None, at: str | None, who: str
) -> tuple[Against, ReactionCode] | None:
    if undoes is None and unless is None:
        return None
    if undoes is not None and unless is not None:
        raise DefinitionError(f"{who} has undoes= and unless=: it undoes a reaction, or runs instead of it")
    kind, other = (Against.UNDO, undoes) if undoes is not None else (Against.UNLESS, unless)
    assert other is not None, "one of them was given"
    if not isinstance(other, Reaction):
        raise DefinitionError(f"{who} names {other!r}, which is no reaction: declare that one first")
    if other.code.store != at:
        raise DefinitionError(
            f"{who} works in another store than {other.code.name!r}, which it {kind.value}: only one store "
            "can tell which of them was first; give both the same at="
        )
    if other.code.against is not None:
        raise DefinitionError(
            f"{who} {kind.value} {other.code.name!r}, which {other.code.against[0].value} another itself: "
            "a compensation is retried until it succeeds, and is not undone"
        )
    other.code.is_answered_once = True
    return kind, other.code


def _check_parameters(
    signature: Signature, hints: dict[str, Any], against: tuple[Against, ReactionCode] | None, who: str
) -> frozenset[str]:
    """Return which answers of what it undoes it takes; none if it takes no answer."""
    names = signature.names
    if not names or names[0] != TX:
        raise DefinitionError(f"{who} does not begin with 'tx': declare (tx, event: YourEvent)")
    is_third = len(names) == 3 and against is not None and against[0] is Against.UNDO
    if len(names) != 2 and not is_third:
        raise DefinitionError(
            f"{who} takes ({', '.join(names)}): a reaction takes tx and one event, and one that undoes "
            "another may take its answer as well"
        )
    for name in names[1:]:
        if name not in hints:
            raise DefinitionError(f"{who} does not say what {name!r} is: its annotation names the events")
    if not is_third:
        return frozenset()
    return frozenset(part.__name__ for part in parts_of(hints[names[2]]) if part is not type(None))


def _events(hint: Any, who: str) -> tuple[bool, dict[str, Any]]:
    """Return whether it takes lists, and which events."""
    is_batch = typing.get_origin(hint) is list
    return is_batch, _classes(parts_of(typing.get_args(hint)[0] if is_batch else hint), who, "takes")


def _classes(parts: Iterable[Any], who: str, does: str) -> dict[str, Any]:
    classes: dict[str, Any] = {}
    for part in parts:
        if not isinstance(part, type) or part.__module__ == "builtins":
            raise DefinitionError(
                f"{who} {does} {text_of(part)}, which is no event: name classes of your own, with | between"
            )
        if part.__name__ in classes:
            raise DefinitionError(
                f"{who} {does} two classes called {part.__name__}: events travel under that name; rename one"
            )
        check_carried(part, f"{part.__name__}, which {who} {does},")
        classes[part.__name__] = part
    return classes


def _answers(hints: dict[str, Any], is_batch: bool, who: str) -> tuple[bool, dict[str, Any]]:
    """Return whether it may be silent, and what it may answer."""
    if "return" not in hints:
        raise DefinitionError(f"{who} does not say what it returns: write -> SomeEvent, or -> None")
    parts = parts_of(hints["return"])
    events = [part for part in parts if part is not type(None) and part is not None]
    is_silent = len(events) < len(parts)
    if len(events) == 1 and typing.get_origin(events[0]) is list:
        is_silent, events = True, list(parts_of(typing.get_args(events[0])[0]))
    if events and is_batch:
        raise DefinitionError(
            f"{who} takes a list and answers: nobody could tell which event an answer follows from; "
            "take one event, or return None and publish with tx"
        )
    return is_silent, _classes(events, who, "answers")


def _check_against(code: ReactionCode, who: str) -> None:
    if code.against is None:
        return
    _, other = code.against
    if code.is_batch or other.is_batch:
        raise DefinitionError(f"{who} is about one run, and a list holds events of many: take one event")
    if wrong := code.takes_answer - {*other.answers}:
        never = ", ".join(sorted(wrong))
        raise DefinitionError(f"{who} takes {never} as the answer of {other.name!r}, which never answers so")
