"""What a saga's class means: how each step is called, what it needs, when it is tried again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from finality.core.backoff import DEFAULT, FOREVER, PATIENT, Retry
from finality.core.ids import Json
from finality.core.saga import Kind, Wait
from finality.patterns.options import Breaker, signal, timer
from finality.patterns.saga import Saga, children_of, definition_of
from finality.patterns.step import DeclaredStep, child, pivot, step
from finality.runtime.definition import Attempt, Parameter, Source, Style
from tests.core.notation import defined

TX, ATTEMPT = Parameter(Source.TX), Parameter(Source.ATTEMPT)


@dataclass(frozen=True)
class PaymentId:
    number: str


@dataclass(frozen=True)
class BookHotel(Saga):
    nights: int

    @step
    def room(self, tx: object, attempt: Attempt) -> str:
        return f"{self.nights} nights"


@dataclass(frozen=True)
class BookTrip(Saga, deadline=timedelta(minutes=5)):
    card: str
    tracks: list[str]

    @step
    async def payment(self, tx: object) -> PaymentId:
        """Take the money."""
        return PaymentId(self.card)

    @payment.compensate
    async def refund(self, tx: object, payment: PaymentId) -> str:
        return f"{payment.number} refunded"

    @step(each="tracks", at_once=3, retry=Retry(attempts=2), timeout=timedelta(seconds=2), breaker="label")
    async def license(self, payment: PaymentId, item: str, attempt: Attempt) -> int:
        return len(item)

    @license.compensate(retry=Retry(attempts=7))
    def revoke(self, tx: object, license: int | None, item: str, payment: PaymentId) -> None: ...

    @step(wait_for=signal("approval", within=timedelta(days=2), default=False))
    def approved(self, payment: PaymentId, approval: bool) -> bool:
        return approval

    @child(when=lambda self, approved: approved)
    def hotel(self, payment: PaymentId) -> BookHotel:
        return BookHotel(len(payment.number))

    @pivot
    def ticket(self, tx: object, license: list[int], hotel: str | None) -> str:
        return f"{license} {hotel}"

    @step(wait_for=timer(timedelta(days=3)))
    async def receipt(self, tx: object, ticket: str) -> None: ...


def test_a_step_is_called_as_its_function_is_written() -> None:
    codes = definition_of(BookTrip).codes

    assert codes["payment"].action.style is Style.SCOPE  # async def, with tx
    assert codes["license"].action.style is Style.TASK  # async def
    assert codes["approved"].action.style is Style.BLOCKING  # def
    assert codes["ticket"].action.style is Style.TURN  # def, with tx


def test_parameters_say_where_each_argument_comes_from() -> None:
    codes = definition_of(BookTrip).codes
    payment = Parameter(Source.RESULT, "payment", PaymentId)

    assert codes["payment"].action.parameters == (TX,)
    assert codes["license"].action.parameters == (payment, Parameter(Source.ITEM, type=str), ATTEMPT)
    assert codes["approved"].action.parameters == (payment, Parameter(Source.SIGNAL, "approval", bool))
    assert codes["ticket"].action.parameters == (
        TX,
        Parameter(Source.RESULT, "license", list[int]),
        Parameter(Source.RESULT, "hotel", str | None),
    )


def test_a_compensation_takes_its_own_item_and_its_own_answer() -> None:
    revoke = definition_of(BookTrip).codes["license"].compensation
    assert revoke is not None

    assert revoke.style is Style.TURN
    assert revoke.parameters == (
        TX,
        Parameter(Source.RESULT, "license", int | None),
        Parameter(Source.ITEM, type=str),
        Parameter(Source.RESULT, "payment", PaymentId),
    )


def test_a_list_comes_from_a_field_of_the_saga() -> None:
    items = definition_of(BookTrip).codes["license"].items
    assert items is not None

    assert items.parameters == ()
    assert items.function(BookTrip("visa", ["a", "b"])) == ["a", "b"]


def test_a_list_comes_from_a_step_that_is_needed_by_it() -> None:
    definition = defined(
        "@step(when=lambda self: False)\ndef tracks(self, tx) -> list[str]: ...\n"
        "@step(each='tracks')\nasync def license(self, item: str) -> int: ..."
    )
    items = definition.codes["license"].items
    assert items is not None

    assert definition.graph.by_name["license"].needs == ("tracks",)
    assert items.parameters == (Parameter(Source.RESULT, "tracks", list[str] | None),)
    assert items.function(None, ["a"]) == ["a"]
    assert items.function(None, None) == []


def test_a_condition_counts_as_a_need_and_is_typed_by_what_it_reads() -> None:
    definition = definition_of(BookTrip)
    condition = definition.codes["hotel"].condition
    assert condition is not None

    assert definition.graph.by_name["hotel"].needs == ("payment", "approved")
    assert definition.graph.by_name["hotel"].is_conditional
    assert condition.parameters == (Parameter(Source.RESULT, "approved", bool),)
    assert condition.function(BookTrip("visa", []), True) is True


def test_a_condition_may_read_the_steps_own_signal() -> None:
    definition = defined(
        "@step(wait_for=signal('yes'), when=lambda self, yes: yes)\nasync def a(self, yes: bool) -> str: ..."
    )
    condition = definition.codes["a"].condition
    assert condition is not None

    assert condition.parameters == (Parameter(Source.SIGNAL, "yes", bool),)


def test_the_graph_is_what_the_signatures_draw() -> None:
    graph = definition_of(BookTrip).graph

    assert graph.saga == "BookTrip"
    assert graph.deadline_seconds == 300
    assert graph.returns == "receipt"
    assert graph.by_name["ticket"].kind is Kind.PIVOT
    assert graph.by_name["receipt"].kind is Kind.RETRIABLE
    assert graph.by_name["license"].each == "tracks"
    assert graph.by_name["license"].at_once == 3
    assert graph.by_name["approved"].wait == Wait("approval", 172_800, Json("false"))
    assert graph.by_name["receipt"].wait == Wait(None, 259_200)
    assert graph.by_name["hotel"].is_child
    assert definition_of(BookTrip).signals == {"approval": bool}


def test_only_a_step_with_tx_or_a_child_cannot_lose_its_answer() -> None:
    is_local = {step.name: step.is_local for step in definition_of(BookTrip).graph.steps}

    assert is_local == {
        "payment": True,
        "license": False,
        "approved": False,
        "hotel": True,
        "ticket": True,
        "receipt": True,
    }


# fmt: off
RETRIES = [
    ("@step\ndef a(self, tx): ...",                                               DEFAULT),
    ("@step(retry=Retry(attempts=2))\ndef a(self, tx): ...",                      Retry(attempts=2)),
    ("@pivot\ndef a(self, tx): ...",                                              DEFAULT),
    ("@pivot\nasync def a(self): ...",                                            FOREVER),
    ("@pivot(retry=Retry(attempts=2))\nasync def a(self): ...",                   Retry(attempts=2)),
    ("@pivot\ndef p(self, tx): ...\n@step\ndef a(self, tx, p): ...",              FOREVER),
    ("@pivot\ndef p(self, tx): ...\n@step\nasync def b(self, p): ...\n"
     "@step\ndef a(self, tx, b): ...",                                            FOREVER),
    ("@pivot\ndef p(self, tx): ...\n@step\ndef a(self, tx): ...",                 DEFAULT),
]
# fmt: on


@pytest.mark.parametrize("body, expected", RETRIES)
def test_a_step_is_tried_again_as_its_place_asks(body: str, expected: Retry) -> None:
    assert defined(body).graph.by_name["a"].retry == expected


def test_a_compensation_is_tried_patiently_unless_it_says_otherwise() -> None:
    graph = definition_of(BookTrip).graph

    assert graph.by_name["payment"].undo_retry == PATIENT
    assert graph.by_name["license"].undo_retry == Retry(attempts=7)


def test_options_reach_the_code() -> None:
    code = definition_of(BookTrip).codes["license"]
    bank = Breaker("bank", failures=2, window=timedelta(seconds=9), open_for=timedelta(seconds=8))

    @dataclass(frozen=True)
    class Transfer(Saga):
        @step(at="bank", breaker=bank)
        def debit(self, tx: object) -> None: ...

    at_bank = definition_of(Transfer).codes["debit"]
    policy = at_bank.breaker_policy

    assert (code.timeout_seconds, code.breaker, code.store) == (2, "label", None)
    assert (at_bank.timeout_seconds, at_bank.breaker, at_bank.store) == (None, "bank", "bank")
    assert (policy.failures, policy.window_seconds, policy.open_seconds) == (2, 9, 8)


def test_returns_is_the_only_last_step_or_what_the_class_says() -> None:
    two = "@step\ndef a(self, tx): ...\n@step\ndef b(self, tx): ..."

    assert defined("@step\ndef a(self, tx): ...\n@step\ndef b(self, tx, a): ...").graph.returns == "b"
    assert defined(two).graph.returns is None
    assert defined(two, "returns='a'").graph.returns == "a"


def test_older_versions_are_accepted_with_and_without_new_names() -> None:
    body = "@step\ndef payment(self, tx): ..."

    assert defined(body, "accepts=('3f2a9c01',)").accepts == {"3f2a9c01": {}}
    assert defined(body, "accepts={'3f2a9c01': {'pay': 'payment'}}").accepts == {
        "3f2a9c01": {"pay": "payment"}
    }


def test_a_definition_is_made_once() -> None:
    assert definition_of(BookTrip) is definition_of(BookTrip)


def test_the_sagas_of_child_steps_are_known() -> None:
    assert children_of(BookTrip) == (BookHotel,)
    assert children_of(BookHotel) == ()


@dataclass(frozen=True)
class Countdown(Saga):
    left: int

    @child(when=lambda self: self.left > 0)
    def rest(self) -> Countdown:
        return Countdown(self.left - 1)


# fmt: off
RESULTS = [
    ("@step\ndef a(self, tx) -> str: ...",                                          str),
    ("@step\ndef a(self, tx): ...",                                                 Any),
    ("@step\ndef a(self, tx) -> str: ...\n@step\ndef b(self, tx) -> str: ...",      Any),
    ("@step(when=lambda self: True)\ndef a(self, tx) -> str: ...",                  str | None),
    ("tracks: list[str]\n@step(each='tracks')\nasync def a(self, item) -> int: ...", list[int]),
    ("@child\ndef hotel(self) -> BookHotel: ...",                                   str),
    ("@child(when=lambda self: True)\ndef hotel(self) -> BookHotel: ...",           str | None),
]
# fmt: on


@pytest.mark.parametrize("body, expected", RESULTS)
def test_the_type_of_what_a_saga_yields_is_known(body: str, expected: object) -> None:
    assert defined(body).result == expected


def test_a_saga_may_run_itself() -> None:
    assert children_of(Countdown) == (Countdown,)
    assert definition_of(Countdown).result is Any


def test_a_method_is_called_in_a_unit_test_like_any_other() -> None:
    trip = BookTrip("visa", [])

    assert asyncio.run(trip.payment(None)) == PaymentId("visa")
    assert asyncio.run(trip.refund(None, PaymentId("visa"))) == "visa refunded"
    assert trip.ticket(None, license=[1], hotel=None) == "[1] None"
    assert trip.hotel(PaymentId("visa")) == BookHotel(4)


def test_on_the_class_a_step_is_itself() -> None:
    assert isinstance(BookTrip.payment, DeclaredStep)
    assert BookTrip.payment.name == "payment"
    assert BookTrip.payment.__doc__ == "Take the money."
    assert repr(BookTrip.ticket) == "<pivot step ticket>"
    assert repr(BookTrip.hotel) == "<child step hotel>"


def test_attempts_of_a_compensation_name_the_key_that_they_undo() -> None:
    assert "undoes" in Attempt.__dataclass_fields__
    assert Attempt.__dataclass_fields__["undoes"].default is None


def test_a_class_inside_a_function_sees_the_functions_names() -> None:
    @dataclass(frozen=True)
    class Seat:
        row: int

    @dataclass(frozen=True)
    class Cinema(Saga):
        first: Seat

        @step
        def seat(self, tx: object) -> Seat:
            return self.first

        @step
        def ticket(self, tx: object, seat: Seat) -> str:
            return str(seat.row)

    definition = definition_of(Cinema)

    assert definition.codes["ticket"].action.parameters == (TX, Parameter(Source.RESULT, "seat", Seat))


def test_a_class_keeps_only_the_locals_that_it_names() -> None:
    unrelated = object()

    @dataclass(frozen=True)
    class Seat:
        row: int

    @dataclass(frozen=True)
    class Cinema(Saga):
        @step
        def seat(self, tx: object) -> Seat:
            return Seat(1)

    assert unrelated not in Cinema.__finality__.scope.values()
    assert dict(Cinema.__finality__.scope) == {"Seat": Seat}


def test_slots_make_the_class_anew_and_lose_nothing() -> None:
    @dataclass(frozen=True, slots=True)
    class Slotted(Saga, deadline=timedelta(seconds=7), returns="a", accepts=("3f2a9c01",)):
        card: str

        @step
        def a(self, tx: object) -> str:
            return self.card

    definition = definition_of(Slotted)

    assert definition.graph.deadline_seconds == 7
    assert definition.graph.returns == "a"
    assert definition.accepts == {"3f2a9c01": {}}
    assert Slotted("visa").a(None) == "visa"


def test_old_and_new_annotations_mean_the_same() -> None:
    body = "@step(each='a')\nasync def b(self, item: int): ...\n@step\ndef a(self, tx) -> list[int]: ..."
    quoted = body.replace("item: int", "item: 'int'").replace("list[int]", "'list[int]'")

    assert defined(quoted).version == defined(body).version
