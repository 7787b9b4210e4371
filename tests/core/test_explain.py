"""An explanation is plain sentences, one for each event, and ends with what a person can do."""

# ruff: noqa: E501 - A row of a table is read as one line, however long it is.

from __future__ import annotations

from typing import get_args

import pytest

from finality.core.explain import explain
from finality.core.ids import Json, NodeId, Position, StreamName, TransactionId, Version
from finality.core.protocol import Recorded
from finality.core.saga import Kind, Step, Wait, graph_of
from finality.core.saga import events as e
from finality.core.sentences import ago, sentence_of, shortened, when

J = Json("7")
CHILD = TransactionId("trip-42/hotel")

# fmt: off
SENTENCES: list[tuple[e.SagaEvent, str]] = [
    (e.Started("Trip", "3f2a", J, 700.0, TransactionId("tour"), "trip"),
                                              "node-1 accepted Trip (version 3f2a) with 7, for step trip of tour, to be done within 10 minutes"),
    (e.WaitStarted("nod", 220.0),             "nod began to wait, for up to 2 minutes"),
    (e.WaitStarted("nod", None),              "nod began to wait, however long it takes"),
    (e.WaitEnded("nod"),                      "the wait of nod ended"),
    (e.WaitEnded("nod", J),                   "the wait of nod ended; 7 stands in for its signal"),
    (e.SignalReceived("nod", J, "ann"),       "ann sent the signal 'nod' with 7"),
    (e.FanOutStarted("mails", 3),             "mails began to run once for each of 3 items"),
    (e.FanOutStarted("mails", 1),             "mails began to run once for each of 1 item"),
    (e.ChildStarted("hotel", CHILD),          "hotel started its child trip-42/hotel"),
    (e.StepStarted("pay", 2),                 "pay was asked at attempt 2 (node-1)"),
    (e.StepDone("pay", J, 2),                 "pay was done at attempt 2 with 7 (node-1)"),
    (e.StepSkipped("pay"),                    "pay was skipped, as its condition did not hold"),
    (e.StepFailed("pay", 1, "down", 105.0),   "pay failed at attempt 1: down; to be tried again after 5 seconds (node-1)"),
    (e.StepFailed("pay", 5, "down", None),    "pay failed at attempt 5: down; it was the last attempt (node-1)"),
    (e.StepPostponed("pay", 130.0, "open"),   "pay was put off for 30 seconds: open"),
    (e.StepRefused("pay", 1, "no money"),     "pay was refused at attempt 1: no money (node-1)"),
    (e.StepLost("pay", "it is gone"),         "the answer of pay is lost, so nobody knows whether it took effect: it is gone"),
    (e.UndoStarted("no money", e.Reason.REFUSED, "pay"),     "the undo began: pay was refused: no money"),
    (e.UndoStarted("down", e.Reason.FAILED, "pay"),          "the undo began: pay failed for good: down"),
    (e.UndoStarted("ill", e.Reason.CANCELLED, by="ann"),     "the undo began: ann cancelled it: ill"),
    (e.UndoStarted("late", e.Reason.DEADLINE),               "the undo began: it was not done in time: late"),
    (e.UndoStarted("off", e.Reason.PARENT),                  "the undo began: its parent is undone: off"),
    (e.CompensationDone("pay", 1),            "pay was compensated at attempt 1 (node-1)"),
    (e.CompensationFailed("pay", 1, "no", 100.5), "the compensation of pay failed at attempt 1: no; to be tried again after 0.5 seconds (node-1)"),
    (e.BecameStuck("pay", "no"),              "pay became stuck and needs a person: no"),
    (e.Parked("version 9"),                   "node-1 parked it: version 9"),
    (e.Retried("ann", "mended"),              "ann let it go on: mended"),
    (e.TakenOver("node-2", "node-1"),         "node-2 took it over from node-1"),
    (e.Migrated("2", "1"),                    "it went on under version 2 instead of 1 (node-1)"),
    (e.Completed(),                           "all steps are settled: it completed"),
    (e.Compensated(),                         "all that was done is undone: it is compensated"),
]

AGO = [(0.2, "just now"), (-5, "just now"), (1, "1 second ago"), (59, "59 seconds ago"), (60, "1 minute ago"),
       (180, "3 minutes ago"), (7_200, "2 hours ago"), (86_400, "1 day ago")]
WHEN = [(100.0, "now"), (105.0, "in 5 seconds"), (3_700.0, "in 1 hour"), (40.0, "overdue since 1 minute ago")]
# fmt: on


@pytest.mark.parametrize("event,sentence", SENTENCES)
def test_an_event_is_a_sentence(event: e.SagaEvent, sentence: str) -> None:
    assert sentence_of(event, "node-1", 100.0) == sentence


def test_every_kind_of_event_has_its_sentence() -> None:
    assert {type(event) for event, _ in SENTENCES} == set(get_args(e.SagaEvent))


@pytest.mark.parametrize("seconds,words", AGO)
def test_the_past_is_told_as_a_person_tells_it(seconds: float, words: str) -> None:
    assert ago(seconds) == words


@pytest.mark.parametrize("at,words", WHEN)
def test_the_future_is_told_as_a_person_tells_it(at: float, words: str) -> None:
    assert when(at, 100.0) == words


def test_long_values_are_cut_and_stay_on_one_line() -> None:
    long = Json('"' + "x" * 1_000 + '"')

    assert shortened("two\n  lines") == "two lines"
    assert len(sentence_of(e.StepDone("pay", long, 1), "node-1", 0.0)) < 80 + 50


GRAPH = graph_of(
    "Trip",
    [
        Step("pay", has_undo=True),
        Step("nod", ("pay",), wait=Wait("nod", 600.0)),
        Step("ticket", ("nod",), Kind.PIVOT, is_local=False),
    ],
    version="1",
)


def recorded(*events: e.SagaEvent) -> list[Recorded]:
    """Return *events* as they were recorded, a minute apart from 0 on."""
    stream = StreamName("transaction/trip 42")
    return [
        Recorded(Position(place), stream, Version(place), event, 60.0 * (place - 1), NodeId("node-1"))
        for place, event in enumerate(events, start=1)
    ]


BEGUN, PAID = e.Started("Trip", "1", J), e.StepDone("pay", J, 1)


def test_a_waiting_saga_says_what_for_since_when_and_what_to_type() -> None:
    explanation = explain(
        recorded(BEGUN, PAID, e.WaitStarted("nod", 720.0)), GRAPH, now=180.0, driver="node-2"
    )

    assert str(explanation) == "\n".join(
        [
            "Trip trip 42 is waiting; node node-2 drives it",
            "",
            "What happened",
            "  - 3 minutes ago: node-1 accepted Trip (version 1) with 7",
            "  - 2 minutes ago: pay was done at attempt 1 with 7 (node-1)",
            "  - 1 minute ago: nod began to wait, for up to 10 minutes",
            "",
            "What it waits for",
            "  - nod: the signal 'nod'; if it has not come in 9 minutes, it is refused, since 1 minute ago",
            "",
            "What you can do",
            "  - send what it waits for: `finality transaction signal 'trip 42' nod VALUE`",
            "  - have it undone: `finality transaction cancel 'trip 42' --because \"…\"`",
        ]
    )


def test_a_stuck_saga_without_a_node_says_so() -> None:
    undo = e.UndoStarted("ill", e.Reason.CANCELLED, by="ann")
    stuck = (e.CompensationFailed("pay", 20, "card expired", None), e.BecameStuck("pay", "card expired"))
    explanation = explain(
        recorded(BEGUN, PAID, undo, *stuck), GRAPH, now=300.0, driver=None, note="it is stuck"
    )

    assert explanation.headline == "Trip trip 42 is stuck; no node drives it: it is stuck"
    assert explanation.waits_for == (
        "a person: the compensation of 'pay' cannot go on: card expired, since 1 minute ago",
    )
    assert explanation.you_can == (
        "put right what is wrong, then let it go on: `finality transaction retry 'trip 42' --because \"…\"`",
    )


def test_an_ended_saga_waits_for_nothing() -> None:
    undo = e.UndoStarted("ill", e.Reason.CANCELLED, by="ann")
    explanation = explain(recorded(BEGUN, undo, e.Compensated()), GRAPH, now=300.0, driver=None)

    assert explanation.headline == "Trip trip 42 is compensated"
    assert (explanation.waits_for, explanation.you_can) == ((), ())


def test_behind_the_point_of_no_return_it_cannot_be_cancelled() -> None:
    told = recorded(BEGUN, PAID, e.StepDone("nod", J, 1), e.StepStarted("ticket", 1))
    explanation = explain(told, GRAPH, now=300.0, driver="node-1", note="its lease ends in 3 seconds")

    assert explanation.headline.endswith("; node node-1 drives it (its lease ends in 3 seconds)")
    assert explanation.you_can == ("wait; it cannot be cancelled any more, ticket is its point of no return",)


def test_a_saga_of_another_definition_is_told_as_far_as_it_can_be() -> None:
    explanation = explain(recorded(BEGUN, e.StepDone("flite", J, 1)), GRAPH, now=90.0, driver=None)

    assert len(explanation.happened) == 2
    assert "'flite'" in explanation.waits_for[0]


def test_a_renamed_step_is_told_by_its_new_name() -> None:
    migrated = e.Migrated("1", "0", {"payment": "pay"})
    told = recorded(BEGUN, e.StepDone("payment", J, 1), migrated)

    assert explain(told, GRAPH, now=180.0, driver=None).waits_for == (
        "nod to start its wait, since 2 minutes ago",
    )


def test_a_sealed_secret_is_masked_and_an_empty_answer_is_not_told() -> None:
    sealed = '{"card":{"$secret":"c2VhbGVk","key":"ab12"},"cents":1}'
    started = sentence_of(e.Started("Pay", "1", Json(sealed)), "n1", 0.0)
    done = sentence_of(e.StepDone("debit", Json("null"), 1), "n1", 0.0)

    assert "c2VhbGVk" not in started
    assert '{"card":"***","cents":1}' in started
    assert done == "debit was done at attempt 1 (n1)"
