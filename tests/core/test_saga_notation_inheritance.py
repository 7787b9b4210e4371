"""Sagas that extend sagas: what is inherited, what is overridden, what may be neither."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from datetime import timedelta

import pytest

from finality.core.backoff import Retry
from finality.patterns.saga import Saga, definition_of
from finality.patterns.step import step
from tests.core.notation import defined


@dataclass(frozen=True)
class Order(Saga, deadline=timedelta(seconds=9), returns="payment"):
    sku: str

    @step
    def payment(self, tx: object) -> str:
        return f"paid {self.sku}"

    @payment.compensate(retry=Retry(attempts=3))
    def refund(self, tx: object, payment: str) -> str:
        return f"{payment}, refunded"

    @step
    def shipment(self, tx: object, payment: str) -> str:
        return "shipped"


@dataclass(frozen=True)
class Gift(Order):
    card: str

    @step
    def shipment(self, tx: object, payment: str) -> str:
        return f"wrapped, {super().shipment(tx, payment)}"

    @step
    def greeting(self, tx: object, shipment: str) -> str:
        return self.card


@dataclass(frozen=True)
class Charity(Order):
    @step(retry=Retry(attempts=9))
    def payment(self, tx: object) -> str:
        return "donated"

    def refund(self, tx: object, payment: str) -> str:
        return f"{payment}, kept"


class Plain(Order):
    """Adds nothing that would have to be a field."""


def test_steps_of_the_base_are_steps_of_the_saga() -> None:
    graph = definition_of(Gift).graph

    assert [step.name for step in graph.steps] == ["payment", "shipment", "greeting"]
    assert graph.saga == "Gift"
    assert Gift("pen", "love").greeting(None, "") == "love"


def test_an_overridden_step_may_call_what_it_stands_in_for() -> None:
    action = definition_of(Gift).codes["shipment"].action

    assert action.function(Gift("pen", "love"), None, "paid") == "wrapped, shipped"


def test_class_keywords_are_inherited() -> None:
    graph = definition_of(Gift).graph

    assert graph.deadline_seconds == 9
    assert graph.returns == "payment"


def test_an_overridden_step_keeps_its_compensation() -> None:
    graph = definition_of(Charity).graph

    assert graph.by_name["payment"].retry == Retry(attempts=9)
    assert graph.by_name["payment"].undo_retry == Retry(attempts=3)
    assert graph.by_name["payment"].has_undo


def test_an_overridden_compensation_is_the_one_that_runs() -> None:
    undo = definition_of(Charity).codes["payment"].compensation
    assert undo is not None

    assert undo.function(Charity("pen"), None, "donated") == "donated, kept"


def test_the_base_stays_what_it_was() -> None:
    code = definition_of(Order).codes["payment"]
    assert code.compensation is not None

    assert code.action.function(Order("pen"), None) == "paid pen"
    assert code.compensation.function(Order("pen"), None, "paid") == "paid, refunded"


def test_a_saga_that_adds_no_field_needs_no_decorator() -> None:
    assert definition_of(Plain).kind == "Plain"
    assert definition_of(Plain).type is Plain


def test_a_base_may_leave_a_step_to_its_sagas() -> None:
    class Base(Saga, abc.ABC):
        @step
        @abc.abstractmethod
        def payment(self, tx: object) -> str: ...

    with pytest.raises(TypeError, match="abstract"):
        Base()  # type: ignore[abstract]  # the refusal is the test


def test_compensations_may_all_have_one_name() -> None:
    definition = defined(
        "@step\ndef a(self, tx): ...\n@a.compensate\ndef _(self, tx): return 'a undone'\n"
        "@step\ndef b(self, tx): ...\n@b.compensate\ndef _(self, tx): return 'b undone'\n"
    )
    undo_a, undo_b = definition.codes["a"].compensation, definition.codes["b"].compensation
    assert undo_a is not None
    assert undo_b is not None

    assert (undo_a.function(None, None), undo_b.function(None, None)) == ("a undone", "b undone")
