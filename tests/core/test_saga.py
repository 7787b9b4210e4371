"""The saga protocol in tables: given these events, when this is heard, then those are true."""

# ruff: noqa: E501 - A row of a table is read as one line, however long it is.

from __future__ import annotations

import pytest

from finality.core.backoff import FOREVER, Retry
from finality.core.ids import Json, TransactionId
from finality.core.protocol import fold
from finality.core.saga import (
    Graph,
    Kind,
    SagaState,
    Step,
    Wait,
    advance,
    begun,
    decide,
    evolve,
    graph_of,
    new_state,
    outstanding,
    summary_of,
)
from finality.core.saga import events as e

TWICE = Retry(attempts=2, first_seconds=1.0, jitter=0.0)
ONCE = Retry(attempts=1)
J = Json("1")
CHILD = TransactionId("trip/hotel")

TRIP = graph_of(
    "Trip",
    [
        Step("pay", has_undo=True, retry=TWICE, undo_retry=TWICE),
        Step("seat", ("pay",), is_local=False, has_undo=True, retry=TWICE, undo_retry=ONCE),
        Step("ticket", ("seat",), Kind.PIVOT, is_local=False, retry=TWICE),
        Step("mail", ("ticket",), retry=FOREVER),
    ],
    version="1",
    deadline_seconds=100.0,
)
PARTS = graph_of(
    "Parts",
    [
        Step("nod", wait=Wait("nod", 10.0, Json("0")), has_undo=True),
        Step("yes", wait=Wait("yes", 10.0), has_undo=True),
        Step("list", ("nod",), each="items", at_once=1, has_undo=True, retry=TWICE),
        Step("hotel", ("nod",), is_child=True),
        Step("maybe", ("yes",), is_local=False, is_conditional=True),
    ],
    version="1",
)

BEGUN = e.Started("Trip", "1", J, 100.0)
PAID = e.StepDone("pay", J, 1)
ASKED = e.StepStarted("seat", 1)
SAT = e.StepDone("seat", J, 1)
TO_TICKET = (BEGUN, PAID, ASKED, SAT)
TICKETING = (*TO_TICKET, e.StepStarted("ticket", 1))
TICKETED = (*TICKETING, e.StepDone("ticket", J, 1))
CANCELLED = e.UndoStarted("ill", e.Reason.CANCELLED, by="ann")
STUCK = (BEGUN, PAID, CANCELLED, e.CompensationFailed("pay", 2, "no", None), e.BecameStuck("pay", "no"))
TICKET_STUCK = (*TICKETING, e.StepFailed("ticket", 2, "down", None), e.BecameStuck("ticket", "down"))
LOST = e.StepLost("seat", "it was asked by a node that is gone")

Row = tuple[tuple[e.SagaEvent, ...], e.SagaSignal, tuple[e.SagaEvent, ...]]

# fmt: off
TRIP_TABLE: list[Row] = [
    # given                              when                                       then
    ((),                                 e.Begin(J, 0.0),                           (BEGUN,)),
    ((BEGUN,),                           e.Begin(J, 5.0),                           ()),
    ((BEGUN,),                           e.Succeeded("pay", J, 1),                  (PAID,)),
    ((BEGUN,),                           e.Succeeded("seat", J, 1),                 ()),
    ((BEGUN,),                           e.Succeeded("flite", J, 1),                ()),
    ((BEGUN, PAID),                      e.Succeeded("pay", J, 2),                  ()),
    ((BEGUN,),                           e.Failed("pay", 1, "down", 5.0),           (e.StepFailed("pay", 1, "down", 6.0),)),
    ((BEGUN,),                           e.Failed("pay", 2, "down", 5.0),           (e.StepFailed("pay", 2, "down", None), e.UndoStarted("down", e.Reason.FAILED, "pay"), e.Compensated())),
    ((BEGUN,),                           e.Failed("pay", 1, "big", 5.0, is_final=True),  (e.StepFailed("pay", 1, "big", None), e.UndoStarted("big", e.Reason.FAILED, "pay"), e.Compensated())),
    (TICKETED,                           e.Failed("mail", 1, "big", 5.0, is_final=True), (e.StepFailed("mail", 1, "big", None), e.BecameStuck("mail", "big"))),
    ((*TICKETED, e.StepFailed("mail", 1, "big", None), e.BecameStuck("mail", "big"), e.Retried("ann", "ok")), e.Succeeded("mail", J, 2), (e.StepDone("mail", J, 2), e.Completed())),
    ((BEGUN,),                           e.RefusedBy("pay", 1, "poor"),             (e.StepRefused("pay", 1, "poor"), e.UndoStarted("poor", e.Reason.REFUSED, "pay"), e.Compensated())),
    ((BEGUN,),                           e.Cancel("ann", "ill"),                    (CANCELLED, e.Compensated())),
    ((BEGUN,),                           e.DeadlineCame(99.0),                      ()),
    ((BEGUN,),                           e.DeadlineCame(100.0),                     (e.UndoStarted("the deadline passed", e.Reason.DEADLINE), e.Compensated())),
    ((BEGUN,),                           e.RetryAsked("ann", "mended"),             ()),
    ((BEGUN, e.Parked("old")),           e.RetryAsked("ann", "mended"),             (e.Retried("ann", "mended"),)),
    ((BEGUN,),                           e.Postponed("pay", 9.0, "open"),           (e.StepPostponed("pay", 9.0, "open"),)),
    ((BEGUN, PAID),                      e.Postponed("pay", 9.0, "open"),           ()),
    ((BEGUN, PAID),                      e.AboutToRun("seat", 1),                   (ASKED,)),
    ((BEGUN, PAID, ASKED),               e.AboutToRun("seat", 1),                   ()),
    ((BEGUN, PAID, ASKED),               e.AboutToRun("seat", 2),                   (e.StepStarted("seat", 2),)),
    ((BEGUN, PAID, ASKED),               e.AnswerLost("seat"),                      ()),
    ((BEGUN, PAID, ASKED),               e.Cancel("ann", "ill"),                    (CANCELLED,)),
    ((BEGUN, PAID, ASKED, CANCELLED),    e.Cancel("bob", "too"),                    ()),
    ((BEGUN, PAID, ASKED, CANCELLED),    e.Succeeded("seat", J, 1),                 (SAT,)),
    ((BEGUN, PAID, ASKED, CANCELLED),    e.RefusedBy("seat", 1, "full"),            (e.StepRefused("seat", 1, "full"),)),
    ((BEGUN, PAID, ASKED, CANCELLED),    e.Failed("seat", 1, "down", 0.0),          (e.StepFailed("seat", 1, "down", None),)),
    ((BEGUN, PAID, ASKED, CANCELLED),    e.AnswerLost("seat"),                      (LOST,)),
    ((BEGUN, PAID, ASKED, CANCELLED),    e.CompensationSucceeded("pay", 1),         ()),
    ((BEGUN, PAID, ASKED, CANCELLED, LOST), e.Succeeded("seat", J, 1),              ()),
    ((BEGUN, PAID, ASKED, CANCELLED, LOST), e.CompensationSucceeded("pay", 1),      ()),
    ((BEGUN, PAID, ASKED, CANCELLED, LOST), e.CompensationSucceeded("seat", 1),     (e.CompensationDone("seat", 1),)),
    ((BEGUN, PAID, CANCELLED),           e.CompensationSucceeded("pay", 1),         (e.CompensationDone("pay", 1), e.Compensated())),
    ((BEGUN, PAID, CANCELLED),           e.CompensationErred("pay", 1, "no", 5.0),  (e.CompensationFailed("pay", 1, "no", 6.0),)),
    ((BEGUN, PAID, CANCELLED),           e.CompensationErred("pay", 2, "no", 5.0),  (e.CompensationFailed("pay", 2, "no", None), e.BecameStuck("pay", "no"))),
    ((BEGUN, PAID, CANCELLED),           e.Succeeded("seat", J, 1),                 ()),
    (TO_TICKET,                          e.Cancel("ann", "ill"),                    (CANCELLED,)),
    (TICKETING,                          e.Cancel("ann", "ill"),                    ()),
    (TICKETING,                          e.DeadlineCame(100.0),                     ()),
    (TICKETING,                          e.RefusedBy("ticket", 1, "no"),            (e.StepRefused("ticket", 1, "no"), e.UndoStarted("no", e.Reason.REFUSED, "ticket"))),
    (TICKETING,                          e.Failed("ticket", 2, "down", 0.0),        (e.StepFailed("ticket", 2, "down", None), e.BecameStuck("ticket", "nobody knows whether it took effect: down"))),
    (TICKET_STUCK,                       e.Succeeded("ticket", J, 1),               (e.StepDone("ticket", J, 1),)),
    (TICKET_STUCK,                       e.Failed("ticket", 2, "down", 0.0),        ()),
    (TICKET_STUCK,                       e.RetryAsked("ann", "mended"),             (e.Retried("ann", "mended"),)),
    ((*TICKET_STUCK, e.Retried("ann", "ok")), e.Failed("ticket", 3, "down", 0.0),   (e.StepFailed("ticket", 3, "down", 1.0),)),
    ((*STUCK, e.Retried("ann", "ok")),   e.CompensationErred("pay", 3, "no", 5.0),  (e.CompensationFailed("pay", 3, "no", 6.0),)),
    (STUCK,                              e.CompensationErred("pay", 2, "no", 5.0),  ()),
    (TICKETED,                           e.Cancel("ann", "ill"),                    ()),
    (TICKETED,                           e.RefusedBy("mail", 1, "no"),              (e.BecameStuck("mail", "no"),)),
    (TICKETED,                           e.Failed("mail", 99, "down", 0.0),         (e.StepFailed("mail", 99, "down", 30.0),)),
    (TICKETED,                           e.Succeeded("mail", J, 1),                 (e.StepDone("mail", J, 1), e.Completed())),
]

STARTED = e.Started("Parts", "1", J)
NOD, NODDED = e.WaitStarted("nod", 10.0), e.StepDone("nod", J, 1)
FANNED = (STARTED, NOD, e.WaitEnded("nod", Json("0")), NODDED, e.FanOutStarted("list", 2))
HOTEL = (STARTED, NOD, e.WaitEnded("nod", Json("0")), NODDED, e.ChildStarted("hotel", CHILD))
AGREED = (STARTED, e.SignalReceived("yes", J, "ann"), e.StepDone("yes", J, 1))

PARTS_TABLE: list[Row] = [
    # given                              when                                       then
    ((STARTED,),                         e.WaitBegun("nod", 0.0),                   (NOD,)),
    ((STARTED, NOD),                     e.WaitBegun("nod", 5.0),                   ()),
    ((STARTED, NOD),                     e.TimeCame("nod", 9.0),                    ()),
    ((STARTED, NOD),                     e.TimeCame("nod", 10.0),                   (e.WaitEnded("nod", Json("0")),)),
    ((STARTED, NOD),                     e.Succeeded("nod", J, 1),                  ()),
    ((STARTED, NOD),                     e.Told("nod", J, "ann"),                   (e.SignalReceived("nod", J, "ann"),)),
    ((STARTED, NOD),                     e.Told("nods", J, "ann"),                  ()),
    ((STARTED, e.SignalReceived("nod", J, "ann")), e.Told("nod", Json("2"), "bob"), ()),
    ((STARTED, e.SignalReceived("nod", J, "ann")), e.WaitBegun("nod", 0.0),         ()),
    ((STARTED, e.WaitStarted("yes", 10.0)), e.TimeCame("yes", 10.0),                (e.StepRefused("yes", 0, "signal 'yes' did not come in time"), e.UndoStarted("signal 'yes' did not come in time", e.Reason.REFUSED, "yes"), e.Compensated())),
    (FANNED,                             e.ItemsCounted("list", 3),                 ()),
    (FANNED,                             e.Succeeded("list", J, 1),                 ()),
    (FANNED,                             e.Succeeded("list[2]", J, 1),              ()),
    (FANNED,                             e.Succeeded("list[01]", J, 1),             ()),
    (FANNED,                             e.Succeeded("list[1]", J, 1),              (e.StepDone("list[1]", J, 1),)),
    (FANNED[:-1],                        e.Succeeded("list", J, 1),                 ()),
    (FANNED[:-1],                        e.Succeeded("hotel", J, 1),                ()),
    (FANNED[:-1],                        e.AboutToRun("list", 1),                   ()),
    (HOTEL,                              e.ChildBegun("hotel", CHILD),              ()),
    (HOTEL,                              e.Failed("hotel", 1, "down", 0.0),         ()),
    (HOTEL,                              e.Succeeded("hotel", J, 1),                (e.StepDone("hotel", J, 1),)),
    ((*HOTEL, CANCELLED),                e.AnswerLost("hotel"),                     ()),
    ((*HOTEL, CANCELLED),                e.CompensationSucceeded("hotel", 1),       ()),
    ((*HOTEL, CANCELLED),                e.RefusedBy("hotel", 1, "undone"),         (e.StepRefused("hotel", 1, "undone"),)),
    ((*HOTEL, CANCELLED),                e.Succeeded("hotel", J, 1),                (e.StepDone("hotel", J, 1),)),
    ((STARTED,),                         e.Declined("nod"),                         (e.StepSkipped("nod"),)),
    (AGREED,                             e.Declined("maybe"),                       (e.StepSkipped("maybe"),)),
    ((*AGREED, e.StepStarted("maybe", 1)), e.Declined("maybe"),                     ()),
]
# fmt: on


@pytest.mark.parametrize("given,when,then", TRIP_TABLE)
def test_a_trip(given: tuple[e.SagaEvent, ...], when: e.SagaSignal, then: tuple[e.SagaEvent, ...]) -> None:
    check(state_of(TRIP, *given), when, then)


@pytest.mark.parametrize("given,when,then", PARTS_TABLE)
def test_waits_lists_children_and_conditions(
    given: tuple[e.SagaEvent, ...], when: e.SagaSignal, then: tuple[e.SagaEvent, ...]
) -> None:
    check(state_of(PARTS, *given), when, then)


def state_of(graph: Graph, *events: e.SagaEvent) -> SagaState:
    return fold(evolve, new_state(graph), events)


def check(state: SagaState, when: e.SagaSignal, then: tuple[e.SagaEvent, ...]) -> None:
    events, after = advance(state, when)

    assert events == then
    assert fold(evolve, state, events) == after
    assert decide(after, when) == ()


DEADLINE = e.AwaitDeadline(100.0)

# fmt: off
OWED: list[tuple[tuple[e.SagaEvent, ...], tuple[e.SagaCommand, ...], str, float | None]] = [
    # given                                            owed                                            status          wakes at
    ((BEGUN,),                                         (e.Run("pay", 1), DEADLINE),                    "running",      None),
    ((BEGUN, e.StepFailed("pay", 1, "down", 6.0)),     (e.Run("pay", 2, 6.0), DEADLINE),               "waiting",      6.0),
    ((BEGUN, PAID, ASKED),                             (e.Run("seat", 2), DEADLINE),                   "running",      None),
    ((BEGUN, PAID, ASKED, e.StepPostponed("seat", 9.0, "open")), (e.Run("seat", 2, 9.0), DEADLINE),    "waiting",      9.0),
    ((BEGUN, PAID, ASKED, e.StepFailed("seat", 1, "down", 6.0), e.StepStarted("seat", 2)), (e.Run("seat", 3), DEADLINE), "running", None),
    ((BEGUN, PAID, ASKED, CANCELLED),                  (e.FindAnswer("seat"),),                        "compensating", None),
    ((BEGUN, PAID, ASKED, CANCELLED, LOST),            (e.Compensate("seat", 1),),                     "compensating", None),
    ((BEGUN, PAID, CANCELLED, e.CompensationFailed("pay", 1, "no", 7.0)), (e.Compensate("pay", 2, 7.0),), "compensating", 7.0),
    (STUCK,                                            (e.AskPerson("the compensation of 'pay' cannot go on: no"),), "stuck", 2.0**52),
    ((*STUCK, e.Retried("ann", "mended")),             (e.Compensate("pay", 3),),                      "compensating", None),
    ((BEGUN, e.Parked("old")),                         (e.AskPerson("old"),),                          "parked",       2.0**52),
    ((BEGUN, e.Parked("old"), e.Retried("ann", "ok")), (e.Run("pay", 1), DEADLINE),                    "running",      None),
    ((BEGUN, e.TakenOver("b", "a")),                   (e.Run("pay", 1), DEADLINE),                    "running",      None),
    (TO_TICKET,                                        (e.Run("ticket", 1), DEADLINE),                 "running",      None),
    (TICKETING,                                        (e.Run("ticket", 2),),                          "running",      None),
    ((BEGUN, CANCELLED, e.Compensated()),              (),                                             "compensated",  None),
    ((*TICKETED, e.StepDone("mail", J, 1), e.Completed()), (),                                         "completed",    None),
]
# fmt: on


@pytest.mark.parametrize("given,owed,status,wake_at", OWED)
def test_what_is_owed_follows_from_the_journal(
    given: tuple[e.SagaEvent, ...], owed: tuple[e.SagaCommand, ...], status: str, wake_at: float | None
) -> None:
    state = state_of(TRIP, *given)
    summary = summary_of(state, outstanding(state))

    assert outstanding(state) == owed
    assert (summary.status, summary.wake_at) == (status, wake_at)


@pytest.mark.parametrize("graph", [TRIP, PARTS])
def test_a_saga_begins_as_a_new_one_goes_on_when_it_is_told_to(graph: Graph) -> None:
    begin = e.Begin(J, 5.0, CHILD, "hotel", "00-1-2-01")

    assert begun(graph, begin) == advance(new_state(graph), begin)


def test_a_list_runs_so_many_items_at_once_and_yields_a_list() -> None:
    state = state_of(PARTS, *FANNED)

    assert [c for c in outstanding(state) if isinstance(c, e.Run)] == [e.Run("list[0]", 1)]
    for item in ("list[1]", "list[0]"):
        state = advance(state, e.Succeeded(item, Json(f'"{item}"'), 1))[1]
    assert state.branches["list"].result == '["list[0]","list[1]"]'
    state = advance(state, e.Cancel("ann", "ill"))[1]
    assert outstanding(state) == (e.Compensate("list[0]", 1),)


def test_a_completed_child_is_undone_for_its_parent_and_for_nobody_else() -> None:
    graph = graph_of("Hotel", [Step("room", has_undo=True)], version="1")
    alone, child = (
        state_of(graph, e.Started("Hotel", "1", J, None, parent, step), e.StepDone("room", J, 1), e.Completed())
        for parent, step in ((None, None), (TransactionId("trip"), "hotel"))
    )  # fmt: skip

    assert decide(alone, e.UndoAsked("the trip is off")) == ()
    events, undoing = advance(child, e.UndoAsked("the trip is off"))
    assert events == (e.UndoStarted("the trip is off", e.Reason.PARENT),)
    assert outstanding(undoing) == (e.Compensate("room", 1),)


def test_a_list_of_children_begins_each_and_undoes_each() -> None:
    graph = graph_of("Tour", [Step("hotels", is_child=True, each="towns", at_once=2)], version="1")
    state = state_of(graph, e.Started("Tour", "1", J), e.FanOutStarted("hotels", 2))

    assert outstanding(state) == (e.StartChild("hotels[0]"), e.StartChild("hotels[1]"))
    for item in range(2):
        state = advance(state, e.ChildBegun(f"hotels[{item}]", TransactionId(f"tour/{item}")))[1]
    state = advance(state, e.Succeeded("hotels[1]", J, 1))[1]
    state = advance(state, e.Cancel("ann", "ill"))[1]
    assert outstanding(state) == (
        e.UndoChild("hotels[0]", TransactionId("tour/0")),
        e.UndoChild("hotels[1]", TransactionId("tour/1")),
    )


def test_what_one_saga_owes_is_not_owed_by_another_of_the_same_graph() -> None:
    """A saga keeps the deadline it was started with, also under a newer definition that has none."""
    graph = graph_of("Hotel", [Step("room")], version="2")
    old = state_of(graph, e.Started("Hotel", "1", J, 100.0), e.Migrated("2", "1"))
    new = state_of(graph, e.Started("Hotel", "2", J))

    assert outstanding(old) == (e.Run("room", 1), e.AwaitDeadline(100.0))
    assert outstanding(new) == (e.Run("room", 1),)
