"""Facts, folds, upcasters and snapshots: what holds of any stream."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import finality
from finality.adapters.msgspec.codec import JsonCodec
from finality.core.errors import DefinitionError, NotFound, Stuck
from finality.core.ids import NodeId, Position, StreamName, Version
from finality.core.protocol import Recorded
from finality.core.sourcing import (
    Fact,
    Match,
    Query,
    Snapshot,
    aggregate_stream,
    check_category,
    is_due,
    is_fact,
    split_type,
    type_name,
)
from finality.patterns.aggregate import kind_of
from finality.ports.sources import Source
from finality.runtime.sourcing.reading import At, Folding, KnownEvents, usable
from finality.runtime.sourcing.writing import facts_of
from tests.core.accounts import Account, Deposited, Withdrawn

CODEC = JsonCodec()
ACCOUNT = kind_of(Account)
NAME = StreamName("Account/a")
PAGE_EVENTS = 3
FEW = settings(max_examples=20, deadline=None)

moves = st.lists(st.builds(Deposited, st.integers(0, 99)) | st.builds(Withdrawn, st.integers(0, 99)))


@finality.event(name="Paid", version=3)
@dataclass(frozen=True)
class Paid:
    cents: int
    currency: str


@finality.upcast(Paid, from_version=1)
def in_cents(old: dict[str, Any]) -> dict[str, Any]:
    return {"cents": old["amount"] * 100}


@finality.upcast(Paid, from_version=2)
def with_currency(old: dict[str, Any]) -> dict[str, Any]:
    return {**old, "currency": "EUR"}


@dataclass(frozen=True)
class Till(finality.Aggregate[Paid]):
    cents: int = 0

    def evolve(self, event: Paid) -> Self:
        return replace(self, cents=self.cents + event.cents)


def recorded(facts: list[Fact], first: int = 1) -> list[Recorded]:
    return [
        Recorded(Position(n), NAME, Version(n), fact, float(n), NodeId(""))
        for n, fact in enumerate(facts, first)
    ]


def history(events: list[Any]) -> list[Recorded]:
    return recorded(facts_of(events, ACCOUNT.by_class, None, "Account", CODEC))


def load(events: list[Recorded], snapshot: Snapshot | None, at: At = None) -> Account:
    source = Source(1, NAME, Version(len(events)), False, snapshot)
    kept = usable(ACCOUNT, source, at)
    folding = Folding(ACCOUNT, "a", source, kept, at, CODEC)
    while folding.rest is not None:
        folding.take(events[folding.version : folding.version + PAGE_EVENTS])
    account = folding.aggregate()
    assert isinstance(account, Account)
    return account


def at_version(events: list[Any], version: int) -> Account:
    account = Account()
    for event in events[:version]:
        account = account.evolve(event)
    return account


@FEW
@given(moves, st.data())
def test_a_snapshot_at_any_version_changes_no_state_at_any_version(events: list[Any], data: Any) -> None:
    happened = history(events)
    at = data.draw(st.none() | st.integers(0, len(events)))
    cut = data.draw(st.integers(0, len(events)))
    shape = data.draw(st.sampled_from([ACCOUNT.shape, "another"]))
    kept = CODEC.encode(at_version(events, cut) if shape == ACCOUNT.shape else Account(-1)).encode()

    account = load(happened, Snapshot(Version(cut), shape, kept), at)

    assert account == at_version(events, len(events) if at is None else at)
    assert account.loaded.version == (len(events) if at is None else at)
    assert account.loaded.is_past is (at is not None)


@FEW
@given(st.integers(1, 20), st.lists(st.integers(1, 7)))
def test_snapshots_are_never_further_apart_than_said_and_an_append(every: int, sizes: list[int]) -> None:
    version = last = 0
    for size in sizes:
        if is_due(every, before=version, after=version + size):
            last = version + size
        version += size

        assert version - last < every


def test_a_shape_changes_with_the_fields_of_what_it_holds_and_with_the_declared_version() -> None:
    @dataclass(frozen=True)
    class Line:
        amount: int

    @dataclass(frozen=True)
    class LongLine:
        amount: int
        text: str

    def shape(line: Any, version: int = 1) -> str:
        @dataclass(frozen=True)
        class Book(finality.Aggregate[Deposited], version=version):
            lines: list[line] = field(default_factory=list)

            def evolve(self, event: Deposited) -> Self:
                return self

        return kind_of(Book).shape

    LongLine.__name__ = "Line"
    assert shape(Line) == shape(Line)
    assert len({shape(Line), shape(LongLine), shape(Line, 2)}) == 3


@pytest.mark.parametrize(
    "type_, data",
    [("Paid", {"amount": 3}), ("Paid@2", {"cents": 300}), ("Paid@3", {"cents": 300, "currency": "EUR"})],
)
def test_an_event_of_any_version_is_read_as_one_of_todays(type_: str, data: dict[str, Any]) -> None:
    [happened] = recorded([Fact(type_, json.dumps(data).encode())])

    assert KnownEvents(kind_of(Till).types, CODEC).read(happened) == Paid(300, "EUR")


UNREADABLE = [
    (Fact("Paid@4", b"{}"), "newer than this code's, 3"),
    (Fact("Unpaid", b"{}"), "not among the events known here: Paid"),
    (Fact("Paid@3", b'{"cents":"x","currency":"EUR"}'), "not a Paid"),
]


@pytest.mark.parametrize("fact, says", UNREADABLE)
def test_an_event_that_cannot_be_read_stops_and_says_which(fact: Fact, says: str) -> None:
    [happened] = recorded([fact], first=7)

    with pytest.raises(Stuck, match=rf"event 7 of Account/a, a {fact.type}, cannot be read: .*{says}"):
        KnownEvents(kind_of(Till).types, CODEC).read(happened)


def test_a_version_that_never_was_is_not_found() -> None:
    with pytest.raises(NotFound, match="has no version 3: it is at version 1"):
        load(history([Deposited(5)]), None, at=3)


def test_only_events_that_are_named_are_recorded() -> None:
    with pytest.raises(DefinitionError, match="cannot take Paid"):
        facts_of([Paid(1, "EUR")], ACCOUNT.by_class, None, "Account", CODEC)


@FEW
@given(st.text())
def test_no_name_of_an_aggregates_stream_is_one_of_ours_or_another_aggregates(id: str) -> None:
    try:
        name = aggregate_stream(check_category("Account"), id)
    except ValueError:
        return

    assert name == f"Account/{id}"
    assert name.count("/") == 1
    assert name[0].isupper()
    assert name.isascii()


@FEW
@given(st.from_regex(r"[A-Z][a-z]{0,5}", fullmatch=True), st.integers(1, 99))
def test_the_type_of_a_fact_tells_its_name_and_version(name: str, version: int) -> None:
    assert split_type(type_name(name, version)) == (name, version)
    assert is_fact(type_name(name, version))
    assert not is_fact(f"saga.{name}")


tags = st.frozensets(st.sampled_from("abc"), min_size=1)


@given(
    st.lists(st.tuples(st.frozensets(st.sampled_from("XY")), tags), min_size=1), st.sampled_from("XYZ"), tags
)
def test_whatever_matches_a_query_has_a_tag_that_it_names(
    matches: list[tuple[frozenset[str], frozenset[str]]], name: str, own: frozenset[str]
) -> None:
    """So that holding the tags of a query holds off every event that would match it."""
    query = Query(tuple(Match(types, each) for types, each in matches))

    if query.has(name, own):
        assert query.tags & own
