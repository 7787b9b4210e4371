"""What a saga's class may not say when it is created. Each row is a class body and the exact message."""

from __future__ import annotations

import pytest

from finality.core.errors import DefinitionError
from tests.core.notation import declared

MISSPELT = """
@step
def flight(self, tx) -> str: ...
@pivot
def ticket(self, tx, flite: str) -> str: ...
"""
# fmt: off
NAMES: dict[str, tuple[str, ...]] = {
    "a misspelt need": (
        MISSPELT,
        "step 'ticket' needs 'flite', which no step of BookTrip yields; did you mean 'flight'?",
    ),
    "a need that resembles nothing": (
        "@step\ndef a(self, tx): ...\n@step\ndef ticket(self, tx, zzz): ...",
        "step 'ticket' needs 'zzz', which no step of BookTrip yields; there is 'a'",
    ),
    "a need where there is nothing": (
        "@step\ndef ticket(self, tx, zzz): ...",
        "step 'ticket' needs 'zzz', which no step of BookTrip yields; there is no other step",
    ),
    "a field as a need": (
        "card: str\n@step\ndef ticket(self, tx, card): ...",
        "step 'ticket' needs 'card', which is a field of BookTrip: read it as self.card",
    ),
    "a misspelt reserved name": (
        "@step\nasync def ticket(self, atempt): ...",
        "step 'ticket' needs 'atempt', which no step of BookTrip yields; did you mean 'attempt'?",
    ),
    "a reserved name": (
        "@step\nasync def attempt(self, tx): ...",
        "BookTrip has a step named 'attempt': that name is reserved for what a step is given; "
        "name it for what it yields",
    ),
    "a field's name": (
        "card: str\n@step\nasync def card(self, tx): ...",
        "'card' is a field of BookTrip and a step: a parameter of that name could mean either; rename one",
    ),
    "a circle": (
        "@step\ndef a(self, tx, b): ...\n@step\ndef b(self, tx, a): ...",
        "the steps of BookTrip need each other in a circle: a → b → a; take one need away",
    ),
    "itself": (
        "@step\ndef a(self, tx, a): ...",
        "the steps of BookTrip need each other in a circle: a → a; take one need away",
    ),
    "two pivots": (
        "@pivot\ndef a(self, tx): ...\n@pivot\ndef b(self, tx, a): ...",
        "saga BookTrip has two pivots, 'a' and 'b': there is one point of no return; make the later one a "
        "step",
    ),
    "a pivot that is undone": (
        "@pivot\ndef a(self, tx): ...\n@a.compensate\ndef undo(self, tx): ...",
        "pivot 'a' of BookTrip has a compensation: nothing is undone behind the point of no return; "
        "drop it, or make the pivot a step",
    ),
    "a step behind the pivot that is undone": (
        "@pivot\ndef a(self, tx): ...\n@step\ndef b(self, tx, a): ...\n@b.compensate\n"
        "def undo(self, tx): ...",
        "step 'b' of BookTrip stands behind the pivot and has a compensation: nothing is undone there; "
        "drop the compensation or the need of the pivot",
    ),
    "a step behind the pivot that gives up": (
        "@pivot\ndef a(self, tx): ...\n@step(retry=Retry(attempts=3))\ndef b(self, tx, a): ...",
        "step 'b' of BookTrip stands behind the pivot and gives up after 3 attempts: "
        "it must go on until it succeeds; use finality.FOREVER",
    ),
    "a signal behind the pivot that may not come": (
        "@pivot\ndef a(self, tx): ...\n"
        "@step(wait_for=signal('yes', within=timedelta(1)))\ndef b(self, tx, a, yes): ...",
        "step 'b' of BookTrip stands behind the pivot and its signal may never come: "
        "it cannot be refused there; give the signal a default",
    ),
    "a child behind the pivot": (
        "@pivot\ndef a(self, tx): ...\n@child\ndef hotel(self, a) -> BookHotel: ...",
        "step 'hotel' of BookTrip stands behind the pivot and runs a child: a child may be refused and "
        "nothing is undone there; start it as a saga of its own",
    ),
    "an unknown result": (
        "@step\ndef a(self, tx): ...",
        "BookTrip returns 'b', which is no step of it; there is 'a'",
        "returns='b'",
    ),
    "a version that is none": (
        "@step\ndef a(self, tx): ...",
        "BookTrip accepts 'v1': a version is eight hex digits, as in '3f2a9c01'",
        "accepts=('v1',)",
    ),
    "a version without its comma": (
        "@step\ndef a(self, tx): ...",
        "BookTrip accepts '3f2a9c01': give a tuple of versions, as in accepts=('3f2a9c01',)",
        "accepts=('3f2a9c01')",
    ),
    "a renamed step that is none": (
        "@step\ndef payment(self, tx): ...",
        "BookTrip accepts 3f2a9c01 with step 'pay' renamed to 'paymet', which is no step of it; "
        "did you mean 'payment'?",
        "accepts={'3f2a9c01': {'pay': 'paymet'}}",
    ),
    "a deadline in the past": (
        "@step\ndef a(self, tx): ...",
        "the deadline of BookTrip is 0:00:00: give more than zero",
        "deadline=timedelta(0)",
    ),
    "a deadline in seconds": (
        "@step\ndef a(self, tx): ...",
        "the deadline of BookTrip is 5: give a timedelta, as in timedelta(seconds=5)",
        "deadline=5",
    ),
}

METHODS: dict[str, tuple[str, ...]] = {
    "tx behind another": (
        "@step\ndef a(self, tx): ...\n@step\ndef b(self, a, tx): ...",
        "step 'b' of BookTrip takes 'tx' behind other parameters: it comes first; move it behind self",
    ),
    "no self": (
        "@step\ndef a(): ...",
        "step 'a' of BookTrip takes no self: it is a method; write def a(self, …)",
    ),
    "any number of needs": (
        "@step\ndef a(self, tx, *all): ...",
        "step 'a' of BookTrip takes '*all': its parameters name what it needs, one by one and in order; "
        "write plain parameters",
    ),
    "a need by keyword": (
        "@step\ndef a(self, tx): ...\n@step\ndef b(self, tx, *, a): ...",
        "step 'b' of BookTrip takes 'a': its parameters name what it needs, one by one and in order; "
        "write plain parameters",
    ),
    "a generator": (
        "@step\nasync def a(self, tx):\n    yield 1",
        "step 'a' of BookTrip yields: it answers once; return the result",
    ),
    "an async def that a decorator hides": (
        "def hide(f):\n    @__import__('functools').wraps(f)\n    def hidden(*a): return f(*a)\n"
        "    return hidden\n@step\n@hide\nasync def a(self): ...",
        "step 'a' of BookTrip is async def under a decorator that is not: nobody would await it; "
        "make the decorator's function async def too",
    ),
    "no method at all": (
        "a = step(staticmethod(print))",
        "step 'a' of BookTrip is not a function: declare a method, with def or async def",
    ),
    "a step made something else": (
        "@step\ndef a(self, tx): ...\n",
        "'a' is a step, and Later makes it something else: decorate it with @finality.step there, "
        "or give it another name",
        "",
        "class Later(BookTrip):\n    def a(self, tx): ...",
    ),
    "two compensations": (
        "@step\ndef a(self, tx): ...\n@a.compensate\ndef u(self, tx): ...\n@a.compensate\n"
        "def v(self, tx): ...",
        "step 'a' has two compensations, 'u' and another: one function undoes one step; merge them",
    ),
    "a compensation from outside": (
        "@step\ndef a(self, tx): ...",
        "step 'a' gets a compensation after its class is complete: every user of that class would get it "
        "too; "
        "declare the step again in the subclass and compensate that one",
        "",
        "class Later(BookTrip):\n    @BookTrip.a.compensate\n    def undo(self, tx): ...",
    ),
    "a compensation that needs what may not be done": (
        "@step\ndef a(self, tx): ...\n@a.compensate\ndef undo(self, tx, b): ...\n@step\n"
        "def b(self, tx, a): ...",
        "compensation 'undo' of step 'a' takes 'b', which may not be done when 'a' is undone: "
        "take 'a' or what it needs, or let 'a' need 'b'",
    ),
    "a compensation with a misspelt need": (
        "@step\ndef payment(self, tx): ...\n@payment.compensate\ndef refund(self, tx, paymnt): ...",
        "compensation 'refund' of step 'payment' takes 'paymnt', which no step of BookTrip yields; "
        "did you mean 'payment'?",
    ),
    "a compensation with an item of nothing": (
        "@step\ndef a(self, tx): ...\n@a.compensate\ndef undo(self, tx, item): ...",
        "compensation 'undo' of step 'a' takes 'item', and the step runs over no list: drop it",
    ),
    "a child that is undone": (
        "@child\ndef hotel(self) -> BookHotel: ...\n@hotel.compensate\ndef undo(self, tx): ...",
        "child 'hotel' has a compensation: it is undone by its own steps' compensations; "
        "move this one into the child saga",
    ),
    "a child with tx": (
        "@child\ndef hotel(self, tx) -> BookHotel: ...",
        "child 'hotel' of BookTrip only says which saga to run: "
        "make it a plain def without tx that returns the child",
    ),
    "an async child": (
        "@child\nasync def hotel(self) -> BookHotel: ...",
        "child 'hotel' of BookTrip only says which saga to run: "
        "make it a plain def without tx that returns the child",
    ),
}

OPTIONS: dict[str, tuple[str, ...]] = {
    "a timeout on a turn": (
        "@step(timeout=timedelta(seconds=1))\ndef a(self, tx): ...",
        "step 'a' of BookTrip is a plain def with tx and has a timeout: a turn of the store cannot be "
        "interrupted; "
        "make it async def, or drop the timeout",
    ),
    "a timeout of nothing": (
        "@step(timeout=timedelta(0))\nasync def a(self): ...",
        "the timeout of step 'a' of BookTrip is 0:00:00: give more than zero",
    ),
    "a store without tx": (
        "@step(at='bank')\nasync def a(self): ...",
        "step 'a' of BookTrip is at 'bank' and takes no tx: it works in no store; take tx or drop at=",
    ),
    "nothing at once": (
        "tracks: list[str]\n@step(each='tracks', at_once=0)\nasync def a(self): ...",
        "step 'a' of BookTrip runs 0 items at once: it would never end; give 1 or more",
    ),
    "an item of nothing": (
        "@step\nasync def a(self, item): ...",
        "step 'a' of BookTrip takes 'item' and runs over no list: say which, as in each='tracks'",
    ),
    "a misspelt list": (
        "tracks: list[str]\n@step(each='trakcs')\nasync def a(self, item): ...",
        "step 'a' runs over 'trakcs', which is no field and no step of BookTrip; did you mean 'tracks'?",
    ),
    "a signal with a reserved name": (
        "@step(wait_for=signal('item'))\nasync def a(self): ...",
        "step 'a' of BookTrip waits for a signal named 'item': that name is reserved; choose another",
    ),
    "a signal with a step's name": (
        "@step(wait_for=signal('b'))\nasync def a(self, b): ...\n@step\nasync def b(self): ...",
        "step 'a' waits for signal 'b', which is a step of BookTrip too: "
        "a parameter of that name could mean either; rename one",
    ),
    "a signal that is no name": (
        "@step(wait_for=signal('the yes'))\nasync def a(self): ...",
        "signal 'the yes' cannot be a parameter: name it like one, as in 'approval'",
    ),
    "a default that never stands in": (
        "@step(wait_for=signal('yes', default=None))\nasync def a(self): ...",
        "signal 'yes' has a default and all the time in the world: the default would never stand in; "
        "give within=timedelta(…)",
    ),
    "a default that is no JSON": (
        "@step(wait_for=signal('yes', within=timedelta(1), default=object()))\nasync def a(self): ...",
        "step 'a' of BookTrip has a default for signal 'yes' that JSON cannot carry: a value of type object "
        "cannot be "
        "written as JSON: use a dataclass, an attrs or pydantic class, a Struct, or a type of the standard "
        "library",
    ),
    "a timer of nothing": (
        "@step(wait_for=timer(timedelta(0)))\nasync def a(self): ...",
        "the time of a timer is 0:00:00: give more than zero",
    ),
    "a breaker that is always open": (
        "@step(breaker=Breaker('bank', failures=0))\nasync def a(self): ...",
        "breaker 'bank' opens after 0 failures: give 1 or more",
    ),
    "a condition with a misspelt need": (
        "@step\nasync def payment(self): ...\n@step(when=lambda self, paymet: True)\nasync def a(self): ...",
        "the condition of step 'a' needs 'paymet', which no step of BookTrip yields; did you mean 'payment'?",
    ),
    "a condition with an item": (
        "tracks: list[str]\n@step(each='tracks', when=lambda self, item: True)\nasync def a(self, item): ...",
        "the condition of step 'a' of BookTrip takes 'item': it is asked once, before the step runs; "
        "take self and steps",
    ),
    "a condition with tx": (
        "@step(when=lambda self, tx: True)\nasync def a(self): ...",
        "the condition of step 'a' of BookTrip is async or takes tx: it decides on what is known; "
        "make it a plain function of self and steps",
    ),
}
# fmt: on


@pytest.mark.parametrize("case", (NAMES | METHODS | OPTIONS).values(), ids=(NAMES | METHODS | OPTIONS))
def test_a_class_that_cannot_be_a_saga_is_refused_when_it_is_created(case: tuple[str, ...]) -> None:
    body, message, *more = case
    with pytest.raises(DefinitionError) as caught:
        declared(body, *more)

    assert str(caught.value) == message
