"""What a reaction's declaration says, and what is refused when it is declared."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

import finality
from finality.runtime.definition import Style
from finality.runtime.reaction import Against


@dataclass(frozen=True)
class Placed:
    sku: str


@dataclass(frozen=True)
class Reserved:
    sku: str


@dataclass(frozen=True)
class OutOfStock:
    sku: str


@finality.react("orders", by="stock", publish="stock")
async def reserve(tx: finality.Tx, placed: Placed) -> Reserved | OutOfStock | None:
    return Reserved(placed.sku)


def test_its_annotations_say_what_it_takes_and_answers() -> None:
    code = reserve.code

    assert (code.topic, code.consumer, code.publish, code.reader) == (
        "orders",
        "stock",
        "stock",
        "stock/orders",
    )
    assert (code.takes, code.answers) == (
        {"Placed": Placed},
        {"Reserved": Reserved, "OutOfStock": OutOfStock},
    )
    assert (code.style, code.may_be_silent, code.is_batch) == (Style.SCOPE, True, False)


def test_a_list_is_a_batch_of_any_of_its_events() -> None:
    @finality.react("orders", by="report")
    def count(tx: finality.SyncTx, events: list[Placed | Reserved]) -> None: ...

    assert (count.code.is_batch, {*count.code.takes}) == (True, {"Placed", "Reserved"})
    assert (count.code.style, count.code.publish) == (Style.TURN, "orders")


def test_it_stays_a_function() -> None:
    @finality.react("orders", by="mail")
    def shout(tx: finality.SyncTx, placed: Placed) -> Reserved:
        """Say it."""
        return Reserved(placed.sku.upper())

    assert shout(None, Placed("a")) == Reserved("A")  # type: ignore[arg-type]  # it needs no tx
    assert (shout.__name__, shout.__doc__) == ("shout", "Say it.")


def test_what_undoes_another_may_take_its_answer() -> None:
    @finality.react("orders", by="stock")
    def take(tx: finality.SyncTx, placed: Placed) -> Reserved:
        return Reserved(placed.sku)

    @finality.react("payments", by="stock", undoes=take)
    def put_back(tx: finality.SyncTx, failed: OutOfStock, taken: Reserved | None) -> None: ...

    assert put_back.code.against == (Against.UNDO, take.code)
    assert (put_back.code.takes_answer, take.code.is_answered_once) == (frozenset({"Reserved"}), True)


def no_event(tx: finality.SyncTx) -> None: ...
def no_tx(placed: Placed) -> None: ...
def three(tx: finality.SyncTx, placed: Placed, other: Reserved) -> None: ...
def bare(tx: finality.SyncTx, placed) -> None: ...  # type: ignore[no-untyped-def]  # that is the mistake
def no_return(tx: finality.SyncTx, placed: Placed): ...  # type: ignore[no-untyped-def]  # that is the mistake
def text(tx: finality.SyncTx, placed: str) -> None: ...
def number(tx: finality.SyncTx, placed: Placed) -> int:
    return 1


def batch(tx: finality.SyncTx, placed: list[Placed]) -> Reserved:
    return Reserved("a")


def colour(tx: finality.Tx, placed: Placed) -> None: ...
def pours(tx: finality.SyncTx, placed: Placed) -> Iterator[Reserved]:
    yield Reserved("a")


@pytest.mark.parametrize(
    "function, says",
    [
        (no_event, "takes (tx): a reaction takes tx and one event"),
        (no_tx, "does not begin with 'tx': declare (tx, event: YourEvent)"),
        (three, "a reaction takes tx and one event"),
        (bare, "does not say what 'placed' is: its annotation names the events"),
        (no_return, "does not say what it returns: write -> SomeEvent, or -> None"),
        (text, "takes str, which is no event: name classes of your own"),
        (number, "answers int, which is no event"),
        (batch, "takes a list and answers: nobody could tell which event an answer follows from"),
        (colour, "is a plain def and its tx is finality.Tx, whose methods are awaited"),
        (pours, "yields: it answers once; return the result"),
    ],
)
def test_a_function_that_cannot_keep_its_promise_is_refused(function: Callable[..., Any], says: str) -> None:
    with pytest.raises(finality.DefinitionError, match=re.escape(says)):
        finality.react("orders", by="stock")(function)


@pytest.mark.parametrize(
    "options, says",
    [
        ({"topic": "no good", "by": "stock"}, "'no good' is no name for a topic"),
        ({"topic": "orders", "by": "?"}, "'?' is no name for a consumer"),
        ({"topic": "orders", "by": "stock", "publish": " "}, "' ' is no name for a topic"),
        ({"topic": "orders", "by": "stock", "concurrency": 0}, "a concurrency of 0: give 1 or more"),
        ({"topic": "orders", "by": "stock", "timeout": timedelta(0)}, "the timeout of reaction"),
        ({"topic": "orders", "by": "stock", "timeout": timedelta(1)}, "is a plain def with tx and has"),
        ({"topic": "orders", "by": "stock", "undoes": reserve, "unless": reserve}, "undoes= and unless="),
        ({"topic": "orders", "by": "stock", "undoes": reserve, "at": "bank"}, "works in another store than"),
        ({"topic": "orders", "by": "stock", "undoes": no_tx}, "which is no reaction: declare that one first"),
    ],
)
def test_options_that_cannot_hold_are_refused(options: dict[str, Any], says: str) -> None:
    def pass_on(tx: finality.SyncTx, placed: Placed) -> None: ...

    with pytest.raises(finality.DefinitionError, match=re.escape(says)):
        finality.react(options.pop("topic"), **options)(pass_on)


def test_an_answer_that_is_never_given_cannot_be_taken() -> None:
    def undo(tx: finality.SyncTx, failed: OutOfStock, was: Placed | None) -> None: ...

    with pytest.raises(
        finality.DefinitionError, match="takes Placed as the answer of 'reserve', which never"
    ):
        finality.react("orders", by="stock", undoes=reserve)(undo)


def test_a_compensation_is_not_undone() -> None:
    @finality.react("orders", by="stock", undoes=reserve)
    async def put_back(tx: finality.Tx, failed: OutOfStock) -> Placed: ...  # type: ignore[empty-body]  # not run

    def again(tx: finality.SyncTx, placed: Placed) -> None: ...

    with pytest.raises(finality.DefinitionError, match="is retried until it succeeds, and is not undone"):
        finality.react("orders", by="stock", undoes=put_back)(again)
