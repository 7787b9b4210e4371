"""The shape of a saga: the order of its steps, what stands behind the pivot, what is refused."""

from __future__ import annotations

import pytest

from finality.core.backoff import FOREVER
from finality.core.errors import DefinitionError
from finality.core.ids import Json
from finality.core.saga import Graph, Kind, Step, Wait, graph_of


def graph(*steps: Step) -> Graph:
    return graph_of("BookTrip", steps, version="1")


PIVOT = Step("ticket", ("payment",), Kind.PIVOT)
PAYMENT = Step("payment")

# fmt: off
REFUSED: list[tuple[tuple[Step, ...], str]] = [
    ((Step("a"), Step("a")),
     "saga BookTrip has two steps named 'a': rename one"),
    ((Step("a", ("b",)),),
     "step 'a' of BookTrip needs 'b', which is no step; declare it"),
    ((Step("a", ("c",)), Step("b", ("a",)), Step("c", ("b",))),
     "the steps of BookTrip need each other in a circle: a → c → b → a; take one need away"),
    ((Step("a", each="items", at_once=0),),
     "step 'a' of BookTrip runs 0 items at once: it would never end; give 1 or more"),
    ((Step("a", wait=Wait(None, None)),),
     "step 'a' of BookTrip waits for nothing: it would never run; give the wait a signal or seconds"),
    ((PAYMENT, PIVOT, Step("other", ("ticket",), Kind.PIVOT)),
     "saga BookTrip has two pivots, 'ticket' and 'other': "
     "there is one point of no return; make the later one a step"),
    ((Step("ticket", (), Kind.PIVOT, has_undo=True),),
     "pivot 'ticket' of BookTrip has a compensation: "
     "nothing is undone behind the point of no return; drop it, or make the pivot a step"),
    ((Step("ticket", (), Kind.PIVOT, each="seats"),),
     "pivot 'ticket' of BookTrip runs over a list: "
     "some items could pass the point of no return alone; make it one step"),
    ((Step("ticket", (), Kind.PIVOT, is_child=True),),
     "pivot 'ticket' of BookTrip runs a child: "
     "a child may still be undone when it has ended; let a step of this saga be the pivot"),
    ((PAYMENT, PIVOT, Step("mail", ("ticket",), has_undo=True)),
     "step 'mail' of BookTrip stands behind the pivot and has a compensation: "
     "nothing is undone there; drop the compensation or the need of the pivot"),
    ((PAYMENT, PIVOT, Step("mail", ("ticket",), is_child=True)),
     "step 'mail' of BookTrip stands behind the pivot and runs a child: "
     "a child may be refused and nothing is undone there; start it as a saga of its own"),
    ((PAYMENT, PIVOT, Step("mail", ("ticket",))),
     "step 'mail' of BookTrip stands behind the pivot and gives up after 5 attempts: "
     "it must go on until it succeeds; use finality.FOREVER"),
    ((PAYMENT, PIVOT, Step("mail", ("ticket",), retry=FOREVER, wait=Wait("read", 5.0))),
     "step 'mail' of BookTrip stands behind the pivot and its signal may never come: "
     "it cannot be refused there; give the signal a default"),
]
# fmt: on


@pytest.mark.parametrize("steps,message", REFUSED)
def test_a_shape_that_cannot_keep_its_promise_is_refused(steps: tuple[Step, ...], message: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        graph(*steps)

    assert str(refused.value) == message


def test_steps_come_in_an_order_in_which_they_could_run_one_by_one() -> None:
    shaped = graph(Step("c", ("b",)), Step("b", ("a",)), Step("a"))

    assert [step.name for step in shaped.steps] == ["a", "b", "c"]
    assert shaped.needed_by == {"a": ("b",), "b": ("c",), "c": ()}


def test_the_pivot_waits_for_everything_that_is_not_behind_it() -> None:
    aside = Step("aside")
    receipt = Step("receipt", ("ticket",), retry=FOREVER)
    mail = Step("mail", ("receipt", "aside"), retry=FOREVER)
    shaped = graph(mail, receipt, PIVOT, aside, PAYMENT)

    assert set(shaped.by_name["ticket"].after) == {"payment", "aside"}
    assert [step.name for step in shaped.steps[2:]] == ["ticket", "receipt", "mail"]
    assert {step.name for step in shaped.steps if step.kind is Kind.RETRIABLE} == {"receipt", "mail"}
    assert shaped.pivot is shaped.by_name["ticket"]


def test_a_signal_with_a_default_may_be_awaited_behind_the_pivot() -> None:
    mail = Step("mail", ("ticket",), retry=FOREVER, wait=Wait("read", 5.0, Json("true")))

    assert graph(PAYMENT, PIVOT, mail).by_name["mail"].kind is Kind.RETRIABLE
