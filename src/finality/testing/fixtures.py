"""Aggregates under test: given these events, when this is decided, then those events.

```
    given(Account, Deposited(50)).when(lambda account: account.withdraw(30)).then(Withdrawn(30))
    given(Account).when(lambda account: account.withdraw(30)).refuses("not enough money")
```

No node and no store: a decision is a function. Every event passes through the journal's own
encoding on its way, so that one which could not be kept is found here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

from finality.adapters.msgspec.codec import JsonCodec
from finality.adapters.msgspec.seal import KEY_BYTES, SecretKey
from finality.core.errors import Refused
from finality.core.ids import NodeId, Position, Version
from finality.core.protocol import Recorded
from finality.core.sourcing import Fact, aggregate_stream
from finality.patterns.aggregate import Aggregate, kind_of
from finality.runtime.sourcing.kind import Kind
from finality.runtime.sourcing.reading import Folding
from finality.runtime.sourcing.writing import facts_of

A = TypeVar("A", bound=Aggregate[Any])

KEY = SecretKey("", bytes(KEY_BYTES))
CODEC = JsonCodec((KEY,))
ID = "given"


class Given(Generic[A]):
    """An aggregate to which some events have happened."""

    def __init__(self, kind: Kind, aggregate: A) -> None:
        self._kind = kind
        self.aggregate = aggregate

    def when(self, decision: Callable[[A], Any]) -> Decided[A]:
        """Decide on the aggregate."""
        try:
            answer = decision(self.aggregate)
        except Refused as refused:
            return Decided(self._kind, self.aggregate, (), refused)
        return Decided(self._kind, self.aggregate, _listed(answer), None)


class Decided(Generic[A]):
    """What was decided: events, or a refusal."""

    def __init__(self, kind: Kind, before: A, events: tuple[Any, ...], refused: Refused | None) -> None:
        self._kind = kind
        self._before = before
        with throwaway_keys():
            self._events = tuple(_kept(kind, events))
        self._refused = refused

    def then(self, *events: Any) -> A:
        """See that just these events were decided, none if none is named; return the aggregate with them."""
        if self._refused is not None:
            raise AssertionError(f"expected {_shown(events)}, and it was refused: {self._refused}")
        if self._events != events:
            raise AssertionError(f"expected {_shown(events)}, and {_shown(self._events)} was decided")
        after = self._before
        for event in self._events:
            after = after.evolve(event)
        return after

    def refuses(self, because: str = "") -> Refused:
        """See that it was refused, for a reason with *because* in it; return the refusal."""
        if self._refused is None:
            raise AssertionError(f"expected a refusal, and {_shown(self._events)} was decided")
        if because not in str(self._refused):
            raise AssertionError(f"expected a refusal with {because!r} in it, and it says {self._refused}")
        return self._refused


def given(kind: type[A], *events: Any, id: str = ID) -> Given[A]:
    """Return the aggregate that *events* make, as if it were loaded with *id*."""
    known = kind_of(kind)
    with throwaway_keys():
        folding = Folding(known, id, None, None, None, CODEC)
        folding.take(_recorded(known, events, id))
        return Given(known, folding.aggregate())


def throwaway_keys() -> AbstractContextManager[None]:
    """Have ``CODEC`` seal personal data as in a home store, with keys that are thrown away."""
    kept: dict[str, bytes | None] = {}
    return CODEC.subjects(lambda subjects: kept, lambda subject, sealed: kept.update({subject: sealed}))


def _recorded(kind: Kind, events: Iterable[Any], id: str) -> Iterable[Recorded]:
    facts = facts_of(events, kind.by_class, None, kind.name, CODEC)
    stream = aggregate_stream(kind.name, id)
    for version, fact in enumerate(facts, 1):
        read = Fact(fact.type, json.dumps(json.loads(fact.data)).encode())
        yield Recorded(Position(version), stream, Version(version), read, 0.0, NodeId(""))


def _kept(kind: Kind, events: tuple[Any, ...]) -> Iterable[Any]:
    for event, fact in zip(events, facts_of(events, kind.by_class, None, kind.name, CODEC), strict=True):
        kept = CODEC.decode(fact.data, type(event))
        assert kept == event, f"the journal would give back {kept!r} for {event!r}"
        yield kept


def _listed(decided: Any) -> tuple[Any, ...]:
    match decided:
        case None:
            return ()
        case list() | tuple():
            return tuple(decided)
        case _:
            return (decided,)


def _shown(events: tuple[Any, ...]) -> str:
    return ", ".join(map(repr, events)) or "nothing"
