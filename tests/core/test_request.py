"""A request hears answers, refusals and its deadline in every order, and ends once."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from finality.core.envelope import Envelope, attributes_of, envelope_of
from finality.core.ids import Json, NodeId, Position, StreamName, Version
from finality.core.protocol import Recorded, fold
from finality.core.request import (
    REPLY_BY,
    AnswerCame,
    Answered,
    AnsweredLate,
    AwaitAnswer,
    AwaitDeadline,
    DeadlineCame,
    DeadlinePassed,
    RefusalCame,
    Refused,
    Reply,
    Requested,
    RequestEvent,
    RequestSignal,
    RequestState,
    decide,
    evolve,
    explain_request,
    outstanding,
    reply_headers,
    reply_of,
    summary_of,
)
from finality.core.saga.events import TakenOver

ASKED = Requested("quotes", "ada", "GetQuote", Json('{"who":"ada"}'), "replies.a", 10.0)
NEW = RequestState(ASKED)
QUOTE, SECOND = Json('{"price":3}'), Json('{"price":4}')


def answer(now: float, value: Json = QUOTE) -> AnswerCame:
    return AnswerCame("Quote", value, "b", now)


def no(now: float) -> RefusalCame:
    return RefusalCame("owes us", "b", now)


SIGNALS: tuple[RequestSignal, ...] = (
    answer(1),
    answer(2, SECOND),
    no(1),
    DeadlineCame(9),
    DeadlineCame(10),
    answer(10),
    no(11),
)
ANSWERED, REFUSED = Answered("Quote", QUOTE, "b"), Refused("owes us", "b")
LATE = AnsweredLate("Quote", "b")

# fmt: off
TABLE = [
    # it hears                                       and so it is                     its status
    ((answer(1),),                                   (ANSWERED,),                     "answered"),
    ((answer(1), answer(2, SECOND), no(3)),          (ANSWERED,),                     "answered"),
    ((answer(1), DeadlineCame(10)),                  (ANSWERED,),                     "answered"),
    ((no(1), answer(2)),                             (REFUSED,),                      "refused"),
    ((DeadlineCame(9),),                             (),                              "waiting"),
    ((DeadlineCame(9), answer(9.9)),                 (ANSWERED,),                     "answered"),
    ((DeadlineCame(10), DeadlineCame(11)),           (DeadlinePassed(),),             "expired"),
    ((DeadlineCame(10), answer(11), answer(12)),     (DeadlinePassed(), LATE),        "expired"),
    ((answer(10),),                                  (DeadlinePassed(), LATE),        "expired"),
    ((no(10), DeadlineCame(11)),  (DeadlinePassed(), replace(LATE, type="a refusal")), "expired"),
]
# fmt: on


def told(*signals: RequestSignal) -> tuple[RequestState, tuple[RequestEvent, ...]]:
    state = NEW
    events: tuple[RequestEvent, ...] = ()
    for signal in signals:
        new = decide(state, signal)
        state, events = fold(evolve, state, new), (*events, *new)
    return state, events


@pytest.mark.parametrize("signals, events, status", TABLE)
def test_what_comes_first_is_its_end(signals: Any, events: Any, status: str) -> None:
    state, found = told(*signals)

    assert found == events
    assert summary_of(state).status == status


def test_in_every_order_of_four_it_ends_once_and_deciding_twice_changes_nothing() -> None:
    """A walk of all that it may hear: no more than three signals ever change anything."""
    for signals in product(SIGNALS, repeat=4):
        state, end = NEW, None
        for signal in signals:
            events = decide(state, signal)
            state = fold(evolve, state, events)

            assert decide(state, signal) == (), "deciding twice changes nothing"
            assert end is None or state.end == end, "an end is for ever"
            end = state.end
        owed = () if end is not None else (AwaitAnswer("quotes", "GetQuote"), AwaitDeadline(10.0))
        assert outstanding(state) == owed
        assert summary_of(state).has_ended == (end is not None)
        assert isinstance(end, DeadlinePassed) or not state.is_answered_late


def explained(*events: Any, now: float = 4.0) -> str:
    stream = StreamName("transaction/q-1")
    recorded = [
        Recorded(Position(n), stream, Version(n), event, float(n), NodeId("n1"))
        for n, event in enumerate((ASKED, *events), 1)
    ]
    return str(explain_request(recorded, now=now, driver="n1"))


def test_an_explanation_reads_well() -> None:
    waiting = explained(TakenOver(NodeId("n2"), NodeId("n1")))

    assert waiting.startswith("request q-1 to quotes is waiting; node n1 drives it\n")
    assert 'GetQuote {"who":"ada"} was sent to quotes for key ada, to be answered within 9 s (n1)' in waiting
    assert "an answer from whoever reacts to GetQuote in quotes" in waiting
    assert "its deadline in 6 seconds: no answer counts after it" in waiting
    assert 'just now: it was answered: Quote {"price":3} (b)' in explained(ANSWERED, now=2.0)
    assert "it was refused: owes us (b)" in explained(REFUSED)
    late = explained(DeadlinePassed(), LATE, now=20.0)
    assert "the deadline passed, and nobody had answered" in late
    assert "an answer came too late and changed nothing: Quote (b)" in late
    assert "What it waits for" not in late


def test_an_envelope_carries_where_the_answer_is_awaited_and_until_when() -> None:
    reply = Reply("replies.a", 1_700_000_000.25)
    request = Envelope("1", "a", "GetQuote", "quotes", b"{}", extensions=reply_headers(reply))

    assert reply_of(envelope_of(attributes_of(request), b"{}", topic="quotes")) == reply
    assert reply_of(request._replace(extensions={})) is None
    for by in ({}, {REPLY_BY: "tomorrow"}):  # A foreign writer's: whoever asked knows when it is over.
        foreign = request._replace(extensions={"replyto": "answers", **by})
        assert reply_of(foreign) == Reply("answers", math.inf)
    assert not reply.is_over(reply.deadline - 1)
    assert reply.is_over(reply.deadline)
