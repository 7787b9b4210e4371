"""What a codec promises: what goes in comes out, typed; errors say where; secrets are elsewhere."""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar
from uuid import UUID

import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finality.adapters.msgspec.codec import JsonCodec
from finality.adapters.msgspec.graph import graph_from_json, graph_to_json
from finality.core.breaker import BreakerEvent
from finality.core.ids import Json
from finality.core.saga import Step, graph_of
from finality.core.saga import events as e
from finality.ports.codec import Codec, DecodeError

T = TypeVar("T")
OrderId = NewType("OrderId", str)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Size(IntEnum):
    SMALL = 1


class Shape(StrEnum):
    ROUND = "round"


class Point(NamedTuple):
    x: int
    y: int


class Address(TypedDict):
    street: str


@dataclass(frozen=True)
class Box(Generic[T]):
    content: T
    spare: T | None = None


@dataclass(frozen=True)
class Tree:
    name: str
    branches: list[Tree] = field(default_factory=list)


@attrs.frozen
class Weight:
    grams: int


class Cat(msgspec.Struct, frozen=True, tag=True):
    name: str


class Dog(msgspec.Struct, frozen=True, tag=True):
    name: str


class Guest(pydantic.BaseModel):
    name: str = pydantic.Field(alias="guestName")
    born: date
    balance: Decimal
    tags: set[str] = set()

    model_config = {"strict": True, "populate_by_name": True}


class Room(pydantic.BaseModel):
    guests: list[Guest]

    @pydantic.computed_field
    def beds(self) -> int:
        return len(self.guests)


class Login(pydantic.BaseModel):
    password: pydantic.SecretStr


class Name(str):
    __slots__ = ()


def codecs() -> list[Codec]:
    return [JsonCodec()]


@pytest.fixture(params=codecs(), ids=lambda codec: type(codec).__name__)
def codec(request: pytest.FixtureRequest) -> Codec:
    made: Codec = request.param
    return made


ANNE = Guest(guestName="Anne", born=date(1990, 2, 3), balance=Decimal("1.50"), tags={"a", "b"})
# fmt: off
VALUES: list[tuple[Any, Any]] = [
    (None,                                     None),
    (OrderId("o-1"),                           OrderId),
    (Decimal("1.50"),                          Decimal),
    (10**30,                                   int),
    (UUID(int=7),                              UUID),
    (b"\x00\xff",                              bytes),
    (datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), datetime),
    (datetime(2026, 1, 2, 3, 4, 5, 6),         datetime),  # noqa: DTZ001  # a naive time stays naive
    (date(2026, 1, 2),                         date),
    (time(3, 4, 5),                            time),
    (timedelta(days=-1, microseconds=1),       timedelta),
    (Colour.RED,                               Colour),
    (Size.SMALL,                               Size),
    (Shape.ROUND,                              Shape),
    ((1, "a"),                                 tuple[int, str]),
    (Point(1, 2),                              Point),
    ({"street": "High"},                       Address),
    ({1, 2},                                   set[int]),
    (frozenset({1}),                           frozenset[int]),
    ({Colour.RED: [Decimal(1)]},               dict[Colour, list[Decimal]]),
    ({7: "x"},                                 dict[int, str]),
    ("red",                                    Literal["red", "blue"]),
    (Box(Decimal("1.5"), Decimal(2)),          Box[Decimal]),
    (Box(Box(Weight(3))),                      Box[Box[Weight]]),
    (Tree("a", [Tree("b", [Tree("c")])]),      Tree),
    (Weight(3),                                Weight),
    ([Cat("Tom"), Dog("Rex")],                 list[Cat | Dog]),
    (ANNE,                                     Guest),
    ([Room(guests=[ANNE])],                    list[Room]),
    ({"a": ANNE},                              dict[str, Guest]),
    (None,                                     Guest | None),
    (ANNE,                                     Guest | None),
    (e.Reason.FAILED,                          e.Reason),
    ({"any": [1, None, True]},                 Any),
]
# fmt: on


@pytest.mark.parametrize("value, type_", VALUES, ids=lambda v: str(v)[:40])
def test_what_goes_in_comes_out(codec: Codec, value: Any, type_: Any) -> None:
    found = codec.decode(codec.encode(value), type_)

    assert found == value
    assert type(found) is type(value)


def test_a_subclass_of_a_plain_type_is_written_as_the_plain_type(codec: Codec) -> None:
    assert codec.encode([Name("Anne")]) == '["Anne"]'


@dataclass(frozen=True)
class Everything:
    text: str
    number: int
    real: float
    amount: Decimal
    id: UUID
    data: bytes
    at: datetime
    day: date
    lasts: timedelta
    colour: Colour
    pair: tuple[int, str]
    numbers: frozenset[int]
    table: dict[str, list[int | None]]
    maybe: Point | None
    box: Box[Decimal]


zones = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
decimals = st.decimals(allow_nan=False, allow_infinity=False)
everything = st.builds(
    Everything,
    real=st.floats(allow_nan=False, allow_infinity=False),
    amount=decimals,
    at=st.datetimes(timezones=zones),
    box=st.builds(Box, content=decimals, spare=st.none() | decimals),
)


@pytest.mark.slow
@given(everything)
def test_every_value_of_every_type_survives(value: Everything) -> None:
    for codec in codecs():
        text = codec.encode(value)

        assert codec.decode(text, Everything) == value


EVENTS = dict.fromkeys(typing.get_args(e.SagaEvent), "saga")
EVENTS |= dict.fromkeys(typing.get_args(BreakerEvent), "breaker")


def finite(cls: type) -> st.SearchStrategy[Any]:
    """Events of that class; their floats are times, and no clock reads infinity."""
    hints = typing.get_type_hints(cls)
    times = {float: st.floats(0, 2e9), float | None: st.none() | st.floats(0, 2e9)}
    return st.builds(cls, **{name: times[hint] for name, hint in hints.items() if hint in times})


@given(st.one_of([finite(cls) for cls in EVENTS]))
def test_every_event_survives_under_its_name(event: e.SagaEvent | BreakerEvent) -> None:
    for codec in codecs():
        [(name, data)] = codec.encode_events([event])

        assert name == f"{EVENTS[type(event)]}.{type(event).__name__}"
        assert codec.decode_event(name, data) == event


@dataclass(frozen=True)
class Deposited:
    amount: Decimal


def test_an_event_of_the_users_own_is_registered() -> None:
    codec = JsonCodec()
    codec.register(Deposited, "account.Deposited")
    codec.register(Deposited, "account.Deposited")

    [(name, data)] = codec.encode_events([Deposited(Decimal("1.50"))])
    assert name == "account.Deposited"
    assert codec.decode_event(name, data) == Deposited(Decimal("1.50"))


def test_one_name_stands_for_one_event() -> None:
    codec = JsonCodec()
    codec.register(Deposited, "account.Deposited")

    with pytest.raises(AssertionError, match="stands for"):
        codec.register(Tree, "account.Deposited")


def test_what_a_newer_release_added_to_an_event_is_passed_over(codec: Codec) -> None:
    data = b'{"step":"a","attempt":1,"colour":"red"}'

    assert codec.decode_event("saga.StepStarted", data) == e.StepStarted("a", 1)


# fmt: off
BROKEN: list[tuple[str, Any, str]] = [
    ("1",                               str,            "not a str: Expected `str`, got `int`"),
    ('{"content":{"grams":"x"}}',       Box[Weight],    "Expected `int`, got `str` - at `$.content.grams`"),
    ('[{"name":"a","branches":[{}]}]',  list[Tree],     "required field `name` - at `$[0].branches[0]`"),
    ('{"guests":[{"name":1}]}',         Room,           "guests.0.name"),
    ("{",                               dict[str, int], "Input data was truncated"),
    ("[" * 100_000,                     Any,            "not a Any: "),
    ('"green"',                         Colour,         "not a Colour: Invalid enum value 'green'"),
]
# fmt: on


@pytest.mark.parametrize("text, type_, message", BROKEN, ids=[str(row[0])[:30] for row in BROKEN])
def test_an_error_says_where(codec: Codec, text: str, type_: Any, message: str) -> None:
    with pytest.raises(DecodeError) as caught:
        codec.decode(Json(text), type_)

    assert message in str(caught.value)


def test_an_unknown_event_is_named(codec: Codec) -> None:
    with pytest.raises(DecodeError) as caught:
        codec.decode_event("saga.Teleported", b"{}")

    assert str(caught.value) == (
        "event type 'saga.Teleported' is unknown here: it was written by another version, "
        "or its class is not registered"
    )


def test_a_broken_event_is_named_with_the_place(codec: Codec) -> None:
    with pytest.raises(DecodeError, match=r"not a saga.StepDone: .*`\$.attempt`"):
        codec.decode_event("saga.StepDone", b'{"step":"a","result":"1","attempt":"one"}')


def circle() -> Any:
    inside: list[Any] = []
    inside.append(inside)
    return inside


# fmt: off
UNWRITABLE: list[tuple[Callable[[], Any], str]] = [
    (object,                                         "a value of type object cannot be written as JSON: use"),
    (lambda: "\ud800 quoted",                        "it holds half of a surrogate pair"),
    (lambda: [None, float("nan")],                   "it holds a float that is infinite or not a number"),
    (lambda: Box({"a": float("-inf")}),              "it holds a float that is infinite or not a number"),
    (circle,                                         "it is nested too deeply, or holds itself"),
    (lambda: Login(password=pydantic.SecretStr("x")), "pydantic writes a SecretStr as asterisks"),
    (lambda: [Login(password=pydantic.SecretStr("x"))], "use finality.Secret, in a dataclass"),
]
# fmt: on


@pytest.mark.parametrize("make, message", UNWRITABLE)
def test_what_json_cannot_carry_is_refused(codec: Codec, make: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError) as caught:
        codec.encode(make())

    assert message in str(caught.value)
    assert "quoted" not in str(caught.value)


@dataclass
class Nowhere:
    field: Missing  # type: ignore[name-defined]  # the missing name is the test  # noqa: F821


@dataclass
class Other:
    name: str


# fmt: off
UNREADABLE: list[tuple[Any, str]] = [
    (complex,               "nothing says how to read a complex from JSON"),
    (list[Box[complex]],    "nothing says how to read a complex from JSON"),
    (Nowhere,               "Nowhere has a field whose type cannot be resolved, name 'Missing' is"),
    (Tree | Other,          "may not contain more than one dataclass"),
]
# fmt: on


@pytest.mark.parametrize("type_, message", UNREADABLE, ids=str)
def test_a_type_that_cannot_be_read_back_is_found_beforehand(type_: Any, message: str) -> None:
    with pytest.raises(TypeError) as caught:
        JsonCodec().check(type_)

    assert message in str(caught.value)


@pytest.mark.parametrize("type_", [type_ for _, type_ in VALUES], ids=str)
def test_a_type_that_can_be_read_back_passes(type_: Any) -> None:
    checked: object = JsonCodec().check(type_)  # type: ignore[func-returns-value]  # None is what is tested

    assert checked is None


def test_a_graph_survives_with_all_that_it_knows() -> None:
    steps = [Step("a", has_undo=True), Step("b", ("a",), each="a"), Step("c", ("b",), is_conditional=True)]
    graph = graph_of("BookTrip", steps, version="3f2a9c01", deadline_seconds=5, returns="c")
    text = graph_to_json(graph)

    assert graph_from_json(text) == graph
    assert graph_from_json(text).needed_by == graph.needed_by


def test_a_text_that_is_no_graph_is_refused() -> None:
    with pytest.raises(DecodeError, match="not a saga's graph: "):
        graph_from_json(Json('{"saga":1}'))
