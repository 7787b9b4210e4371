"""Which change of an event breaks whom, and that the codec agrees."""

from __future__ import annotations

import enum
from dataclasses import field, make_dataclass
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finality.adapters.msgspec.codec import JsonCodec
from finality.adapters.msgspec.schema import schema_of
from finality.core.compatibility import Compatibility, clashes, unreadable

Fields = dict[str, Any]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class OneColour(enum.Enum):
    RED = "red"


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    tricks: list[str]


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    a: int = 1


class Wider(msgspec.Struct):
    a: int = 1
    b: int = 1


class Line(msgspec.Struct):
    sku: str


class LongLine(msgspec.Struct):
    sku: str
    amount: int


class Tree(msgspec.Struct):
    name: str
    children: list[Tree] = []


class LabelledTree(msgspec.Struct):
    name: str
    label: str
    children: list[LabelledTree] = []


def event(**fields: Any) -> type:
    """Return a dataclass; a pair is a type with its default."""
    made = [
        (name, kind[0], field(default=kind[1])) if isinstance(kind, tuple) else (name, kind)
        for name, kind in fields.items()
    ]
    return make_dataclass("Placed", made)


def small(text: int) -> Any:
    """Return a string of at most so many characters."""
    return Annotated[str, msgspec.Meta(max_length=text)]


# fmt: off
CASES: list[tuple[Any, Any, str, str]] = [
    # old                      new                         backward               forward
    (event(a=int),             event(a=int),               "",                    ""),
    (event(a=int),             event(a=int, b=(int, 0)),   "",                    ""),
    (event(a=int),             event(a=int, b=int),        "'b' is required",     ""),
    (event(a=int, b=(int, 0)), event(a=int),               "",                    ""),
    (event(a=int, b=int),      event(a=int),               "",                    "'b' is required"),
    (event(a=int),             event(a=float),             "",                    "it expects integer"),
    (event(a=int),             event(a=str),               "'a' may be integer",  "'a' may be string"),
    (event(a=int),             event(a=int | None),        "",                    "'a' may be null"),
    (event(a=int | str),       event(a=int | None),        "'a' may be string",   "'a' may be null"),
    (event(a=int),             event(a=Any),               "",                    "'a' may be anything"),
    (event(a=Colour),          event(a=OneColour),         "'a' may be 'blue'",   ""),
    (event(a=Literal[1, 2]),   event(a=int),               "",                    "and it knows 1 or 2"),
    (event(a=list[int]),       event(a=list[str]),         "'a[]' may be int",    "'a[]' may be str"),
    (event(a=dict[str, int]),  event(a=dict[str, str]),    "'a[…]' may be int",   "'a[…]' may be str"),
    (event(a=tuple[int, str]), event(a=tuple[int, int]),   "'a[1]' may be str",   "'a[1]' may be int"),
    (event(a=tuple[int]),      event(a=tuple[int, int]),   "below its minItems",  "above its maxItems"),
    (event(a=Line),            event(a=LongLine),          "'a.amount' is requ",  ""),
    (event(a=Cat | Dog),       event(a=Cat),               "'a.type' may be 'D",  ""),
    (event(a=Cat),             event(a=Cat | Dog),         "",                    "'a.type' may be 'Dog'"),
    (Strict,                   Wider,                      "",                    "'b' may be there"),
    (Tree,                     Tree,                       "",                    ""),
    (Tree,                     LabelledTree,               "'label' is required", ""),
    (event(a=str),             event(a=small(3)),          "above its maxLength", ""),
    (event(a=small(3)),        event(a=small(4)),          "",                    "maxLength of 3"),
    (event(a=str),             event(a=bytes),             "contentEncoding",     ""),
]
# fmt: on


@pytest.mark.parametrize("old, new, backward, forward", CASES)
def test_a_change_breaks_whom_it_says(old: Any, new: Any, backward: str, forward: str) -> None:
    before, after = schema_of(old), schema_of(new)

    for mode, said in ((Compatibility.BACKWARD, backward), (Compatibility.FORWARD, forward)):
        found = clashes(before, after, mode)
        assert bool(found) == bool(said), found
        assert any(said in each for each in found) or not said, found
    assert bool(clashes(before, after, Compatibility.FULL)) == bool(backward or forward)
    assert clashes(before, after, Compatibility.NONE) == []


VALUES: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-9, 9),
    str: st.text(max_size=3),
    float: st.floats(-9, 9),
    bool: st.booleans(),
    None: st.none(),
    int | None: st.none() | st.integers(-9, 9),
    str | int: st.text(max_size=3) | st.integers(-9, 9),
    list[int]: st.lists(st.integers(-9, 9), max_size=2),
    list[int | str]: st.lists(st.integers(-9, 9) | st.text(max_size=3), max_size=2),
    dict[str, int]: st.dictionaries(st.text(max_size=2), st.integers(-9, 9), max_size=2),
    tuple[int, str]: st.tuples(st.integers(-9, 9), st.text(max_size=3)),
    Literal["a", "b"]: st.sampled_from(["a", "b"]),
    Literal["a", 3]: st.sampled_from(["a", 3]),
    Colour: st.sampled_from(Colour),
    OneColour: st.just(OneColour.RED),
    Cat | Dog: st.builds(Cat, st.integers(1, 9)) | st.just(Dog(["sit"])),
    Cat: st.builds(Cat, st.integers(1, 9)),
}


@st.composite
def classes(draw: st.DrawFn) -> tuple[type, Fields]:
    fields: Fields = {}
    for name in draw(st.sets(st.sampled_from("abc"))):
        kind = draw(st.sampled_from(list(VALUES)))
        fields[name] = (kind, None) if draw(st.booleans()) else kind
    ordered = dict(sorted(fields.items(), key=lambda pair: isinstance(pair[1], tuple)))
    return event(**ordered), ordered


@settings(max_examples=100, deadline=None)
@given(st.data(), classes(), classes())
def test_what_is_called_readable_is_read(
    data: st.DataObject, old: tuple[type, Fields], new: tuple[type, Fields]
) -> None:
    """An event of the writer's class is read as the reader's, whenever the schemas say that it can be."""
    (writer, fields), (reader, _) = old, new
    if unreadable(schema_of(reader), schema_of(writer)):
        return
    given_ = {
        name: data.draw(VALUES[kind[0] if isinstance(kind, tuple) else kind]) for name, kind in fields.items()
    }
    codec = JsonCodec()

    read = codec.unpack(codec.pack(writer(**given_)), "application/json", reader)

    assert isinstance(read, reader)
