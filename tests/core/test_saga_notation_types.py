"""Types that break a saga's promise, found at first use. Each row is a class body and the exact message."""

from __future__ import annotations

import pytest

from finality.core.errors import DefinitionError
from tests.core.notation import declared, defined

# fmt: off
TYPES: dict[str, tuple[str, ...]] = {
    "no steps": (
        "card: str",
        "saga BookTrip has no steps: give it one, with @finality.step",
    ),
    "a plain def with an async tx": (
        "@step\ndef a(self, tx: Tx): ...",
        "step 'a' of BookTrip is a plain def and its tx is finality.Tx, whose methods are awaited: "
        "annotate finality.SyncTx, or make it async def",
    ),
    "an async def with a sync tx": (
        "@step\nasync def a(self, tx: SyncTx): ...",
        "step 'a' of BookTrip is async def and its tx is finality.SyncTx, which is for plain functions: "
        "annotate finality.Tx, or make it a plain def",
    ),
    "a compensation with an async tx": (
        "@step\ndef a(self, tx): ...\n@a.compensate\ndef undo(self, tx: Tx): ...",
        "compensation 'undo' of step 'a' of BookTrip is a plain def and its tx is finality.Tx, whose methods "
        "are "
        "awaited: annotate finality.SyncTx, or make it async def",
    ),
    "an annotation that is nowhere": (
        "@step\ndef a(self, tx) -> 'Nowhere': ...",
        "step 'a' of BookTrip has an annotation that cannot be resolved, 'Nowhere' of 'return': "
        "name 'Nowhere' is not defined; import or define it where the class is defined, not under "
        "TYPE_CHECKING",
    ),
    "a field that is nowhere": (
        "card: 'Nowhere'\n@step\ndef a(self, tx): ...",
        "saga BookTrip has an annotation that cannot be resolved, 'Nowhere' of 'card': "
        "name 'Nowhere' is not defined; import or define it where the class is defined, not under "
        "TYPE_CHECKING",
    ),
    "a need that may be skipped": (
        "@step(when=lambda self: True)\ndef a(self, tx) -> str: ...\n@step\ndef b(self, tx, a: str): ...",
        "step 'b' of BookTrip takes 'a', which its condition may skip: it is None then; annotate it with | "
        "None",
    ),
    "a compensation with a need that may be skipped": (
        "@step(when=lambda self: True)\ndef a(self, tx) -> str: ...\n"
        "@step\ndef b(self, tx, a: str | None): ...\n@b.compensate\ndef undo(self, tx, a: str): ...",
        "compensation 'undo' of step 'b' of BookTrip takes 'a', which its condition may skip: it is None "
        "then; "
        "annotate it with | None",
    ),
    "a compensation of a lost answer": (
        "@step\nasync def a(self) -> str: ...\n@a.compensate\nasync def undo(self, a: str): ...",
        "compensation 'undo' of step 'a' of BookTrip takes 'a', which is None when the step's answer was "
        "lost: "
        "without tx nobody may know whether it took effect; annotate it with | None and undo by "
        "attempt.undoes, "
        "the key that the step sent",
    ),
    "a child of no kind": (
        "@child\ndef hotel(self): ...",
        "child 'hotel' of BookTrip does not say which saga it runs: "
        "annotate what it returns, as in -> BookHotel",
    ),
    "a child that is no saga": (
        "@child\ndef hotel(self) -> str: ...",
        "child 'hotel' of BookTrip does not say which saga it runs: "
        "annotate what it returns, as in -> BookHotel",
    ),
    "a child that cannot be undone": (
        "@child\ndef hotel(self) -> Final: ...",
        "child 'hotel' of BookTrip runs Final, which has a pivot, 'end': once past it, the child could not "
        "be undone with its parent; make that pivot a step",
    ),
    "a list that is none": (
        "tracks: str\n@step(each='tracks')\nasync def a(self, item): ...",
        "step 'a' of BookTrip runs over 'tracks', which is str: annotate it as list[…]",
    ),
    "a list without an order": (
        "tracks: set[str]\n@step(each='tracks')\nasync def a(self, item): ...",
        "step 'a' of BookTrip runs over 'tracks', which is set[str]: annotate it as list[…]",
    ),
    "a step that yields no list": (
        "@step\ndef a(self, tx) -> dict[str, int]: ...\n@step(each='a')\nasync def b(self, item): ...",
        "step 'b' of BookTrip runs over 'a', which is dict[str, int]: annotate it as list[…]",
    ),
    "a default of another type": (
        "@step(wait_for=signal('yes', within=timedelta(1), default='no'))\nasync def a(self, yes: bool): ...",
        "step 'a' of BookTrip takes signal 'yes' and its default is of another type: "
        "not a bool: Expected `bool`, got `str`; annotate the parameter so that it takes both",
    ),
    "a signal of two types": (
        "@step(wait_for=signal('yes'))\nasync def a(self, yes: bool): ...\n"
        "@step(wait_for=signal('yes'))\nasync def b(self, yes: str): ...",
        "signal 'yes' of BookTrip has two types: every step that waits for it takes the same; annotate them "
        "alike",
    ),
    "a result that cannot be read back": (
        "@step\ndef a(self, tx) -> complex: ...",
        "the result of step 'a' of BookTrip cannot be journaled: nothing says how to read a complex from "
        "JSON: "
        "use a dataclass, an attrs or pydantic class, a Struct, or a type of the standard library",
    ),
    "a field that cannot be read back": (
        "card: complex\n@step\ndef a(self, tx): ...",
        "the input of BookTrip cannot be journaled: nothing says how to read a complex from JSON: "
        "use a dataclass, an attrs or pydantic class, a Struct, or a type of the standard library",
    ),
}
# fmt: on


@pytest.mark.parametrize("case", TYPES.values(), ids=TYPES)
def test_types_that_break_a_promise_are_refused_at_first_use(case: tuple[str, ...]) -> None:
    body, message = case
    declared(body)
    with pytest.raises(DefinitionError) as caught:
        defined(body)

    assert str(caught.value) == message


def test_a_saga_that_is_no_dataclass_is_refused_at_first_use() -> None:
    with pytest.raises(DefinitionError) as caught:
        defined("card: str\n@step\ndef a(self, tx): ...", decorator="")

    assert str(caught.value) == (
        "saga BookTrip is not a dataclass: its fields are the input that is journaled; "
        "write @dataclass(frozen=True) above the class"
    )
