"""What an aggregate's class may say, and how it hears of what it may not."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import pytest

import finality
from finality.core.errors import DefinitionError
from finality.patterns.aggregate import kind_of
from finality.patterns.event import event_type
from tests.core.accounts import Account, Deposited, SeatTaken, Withdrawn


def test_an_aggregate_is_called_as_its_class_and_takes_the_events_that_it_names() -> None:
    kind = kind_of(Account)

    assert (kind.name, kind.snapshot_every) == ("Account", 5)
    assert {name: each.cls for name, each in kind.types.items()} == {
        "Deposited": Deposited,
        "Withdrawn": Withdrawn,
    }
    assert kind.empty() == Account()


def test_class_keywords_are_inherited_and_a_name_may_outlive_its_class() -> None:
    @dataclass(frozen=True, slots=True)
    class Purse(finality.Aggregate[Deposited], name="Wallet", version=3, snapshot_every=7):
        coins: list[int] = field(default_factory=list)
        LARGEST: ClassVar[int] = 9

        def evolve(self, event: Deposited) -> Self:
            return replace(self, coins=[*self.coins, event.amount])

    @dataclass(frozen=True)
    class BigPurse(Purse):
        pass

    assert (kind_of(Purse).name, kind_of(Purse).snapshot_every) == ("Wallet", 7)
    assert (kind_of(BigPurse).name, kind_of(BigPurse).snapshot_every) == ("BigPurse", 7)
    assert kind_of(BigPurse).by_class.keys() == {Deposited}


def test_what_is_no_copy_knows_where_it_was_loaded_from_and_a_copy_does_not() -> None:
    with pytest.raises(DefinitionError, match="was not loaded"):
        _ = Account().loaded


def no_default() -> None:
    class Bad(finality.Aggregate[Deposited]):
        balance: int


def field_without_default() -> None:
    class Bad(finality.Aggregate[Deposited]):
        balance: int = field(repr=False)


def no_evolve() -> None:
    class Bad(finality.Aggregate[Deposited]):
        balance: int = 0


def async_evolve() -> None:
    class Bad(finality.Aggregate[Deposited]):
        async def evolve(self, event: Deposited) -> Self:  # type: ignore[override]  # what is refused
            return self


def evolve_with_more() -> None:
    class Bad(finality.Aggregate[Deposited]):
        def evolve(self, event: Deposited, more: int) -> Self:  # type: ignore[override]  # what is refused
            return self


def no_events() -> None:
    class Bad(finality.Aggregate):  # type: ignore[type-arg]  # what is refused
        def evolve(self, event: Any) -> Self:
            return self


def event_is_no_dataclass() -> None:
    class Bad(finality.Aggregate[Deposited | int]):
        def evolve(self, event: Deposited | int) -> Self:
            return self


def two_events_of_one_name() -> None:
    @finality.event(name="Deposited")
    @dataclass(frozen=True)
    class Again:
        amount: int

    class Bad(finality.Aggregate[Deposited | Again]):
        def evolve(self, event: Deposited | Again) -> Self:
            return self


def small_name() -> None:
    class Bad(finality.Aggregate[Deposited], name="account"):
        def evolve(self, event: Deposited) -> Self:
            return self


def taken_field() -> None:
    class Bad(finality.Aggregate[Deposited]):
        loaded: int = 0  # type: ignore[assignment]  # what is refused

        def evolve(self, event: Deposited) -> Self:
            return self


def snapshots_of_nothing() -> None:
    class Bad(finality.Aggregate[Deposited], snapshot_every=0):
        def evolve(self, event: Deposited) -> Self:
            return self


def not_frozen() -> None:
    @dataclass
    class Bad(finality.Aggregate[Deposited]):
        balance: int = 0

        def evolve(self, event: Deposited) -> Self:
            return self

    kind_of(Bad)


def no_dataclass() -> None:
    class Bad(finality.Aggregate[Deposited]):
        balance: int = 0

        def evolve(self, event: Deposited) -> Self:
            return self

    kind_of(Bad)


def tag_is_no_field() -> None:
    @finality.event(tags=["studnet"])
    @dataclass(frozen=True)
    class Bad:
        student: str


def gap_in_upcasters() -> None:
    @finality.event(version=3)
    @dataclass(frozen=True)
    class Bad:
        amount: int

    @finality.upcast(Bad, from_version=1)
    def _second(old: dict[str, Any]) -> dict[str, Any]:
        return old

    event_type(Bad)


def upcaster_of_the_newest() -> None:
    finality.upcast(Deposited, from_version=1)


def two_upcasters() -> None:
    @finality.event(version=2)
    @dataclass(frozen=True)
    class Bad:
        amount: int

    for _ in range(2):
        finality.upcast(Bad, from_version=1)(lambda old: old)


def query_without_tag() -> None:
    finality.events(SeatTaken)


def query_by_what_is_no_tag() -> None:
    finality.events(SeatTaken, room="r1")


MISTAKES = [
    (no_default, "Bad has no default for 'balance'"),
    (field_without_default, "Bad has no default for 'balance'"),
    (no_evolve, "Bad has no 'evolve'"),
    (async_evolve, "Bad.evolve is async"),
    (evolve_with_more, "takes the event and nothing else"),
    (no_events, "does not say which events it takes"),
    (event_is_no_dataclass, "an event of Bad is int, which is no dataclass"),
    (two_events_of_one_name, "two events that the journal would call Deposited"),
    (small_name, "begin with a small letter"),
    (taken_field, "has a field 'loaded'"),
    (snapshots_of_nothing, "every 0 events"),
    (not_frozen, "is not a frozen dataclass"),
    (no_dataclass, "is not a frozen dataclass"),
    (tag_is_no_field, "'studnet', which is no field of it; did you mean 'student'"),
    (gap_in_upcasters, "nothing reads version 2"),
    (upcaster_of_the_newest, "it is at version 1"),
    (two_upcasters, "two upcasters from version 1"),
    (query_without_tag, "by type and tag"),
    (query_by_what_is_no_tag, "has no tag 'room'"),
]


@pytest.mark.parametrize("mistake, says", MISTAKES, ids=[mistake.__name__ for mistake, _ in MISTAKES])
def test_a_mistake_is_told_when_it_is_declared(mistake: Any, says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        mistake()
