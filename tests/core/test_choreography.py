"""What is wrong with a choreography is said when it is declared; a run is put together in any order."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from typing import Any

import pytest

from finality.core.choreography import (
    NEW,
    Arrived,
    AwaitWord,
    ChoreographyEvent,
    DeadlineCame,
    Expired,
    Overdue,
    Part,
    RunState,
    Seen,
    Shape,
    decide,
    evolve,
    explain_run,
    mistakes,
    outstanding,
    summary_of,
)
from finality.core.ids import NodeId, Position, StreamName, Version
from finality.core.protocol import Recorded, fold

ROOM = Part("hotel/book", ("Requested",), ("Room",))
FREE_ROOM = Part("hotel/free", ("Full", "Failed"), ("RoomFree",), undoes="hotel/book")
SEAT = Part("air/book", ("Requested",), ("Seat", "Full"))
FREE_SEAT = Part("air/free", ("Failed",), ("SeatFree",), undoes="air/book")
CONFIRM = Part("tour/confirm", ("Room", "Seat"), ("Booked",), may_be_silent=True)
GIVE_UP = Part("tour/give_up", ("Expired",), ("Failed",), unless="tour/confirm")
TOUR = Shape(
    "tour", "Requested", "Booked", ("Full", "Failed"),
    (ROOM, FREE_ROOM, SEAT, FREE_SEAT, CONFIRM, GIVE_UP), 60.0, "Expired",
)  # fmt: skip


def without(*parts: Part) -> tuple[Part, ...]:
    return tuple(part for part in TOUR.parts if part not in parts)


def changed(part: Part, **changes: Any) -> Shape:
    return replace(TOUR, parts=(*without(part), replace(part, **changes)))


def more(*parts: Part, **changes: Any) -> Shape:
    return replace(TOUR, parts=(*TOUR.parts, *parts), **changes)


HEARING = replace(
    TOUR,
    parts=tuple(
        replace(part, takes=(*part.takes, "Approved")) if part == CONFIRM else part for part in TOUR.parts
    ),
    hears=("Approved",),
)
LOOP = (
    Part("a/ask", ("Room",), ("Asked",)),
    Part("b/say", ("Asked",), ("Said",)),
    Part("c/ask", ("Said",), ("Asked",)),
)


@pytest.mark.parametrize(
    "shape, says",
    [
        (changed(CONFIRM, takes=("Seat",)), "publishes Room, and nobody takes it"),
        (replace(TOUR, parts=without(GIVE_UP)), "outside publishes Expired, and nobody takes it"),
        (replace(TOUR, parts=without(SEAT)), "tour/confirm takes Seat, which nobody publishes"),
        (replace(HEARING, hears=()), "Approved, which nobody publishes: add the reaction that does, or name"),
        (more(hears=("Approved",)), "somebody outside publishes Approved, and nobody takes it"),
        (more(fails=("Full", "Failed", "Lost")), "Lost should end a run, and nobody publishes it"),
        (replace(TOUR, parts=without(FREE_SEAT)), "Failed leaves what air/book has done"),
        (changed(FREE_ROOM, takes=("Failed",)), "Full does not lead to hotel/free, which undoes hotel/book"),
        (changed(FREE_ROOM, takes=("Full", "Expired")), "and may undo what tour/confirm completes"),
        (changed(FREE_SEAT, may_be_silent=True), "air/free undoes air/book and may say nothing"),
        (changed(FREE_SEAT, answers=("RoomFree",)), "both say RoomFree: nobody could tell which"),
        (more(Part("x/y", ("Seat",), ("Booked",))), "both complete it: one reaction alone"),
        (more(*LOOP, keeps=tuple(part.name for part in LOOP)), "Asked, Said lead to no end"),
        (more(fails=("Full",)), "tour/give_up stands in for tour/confirm and answers with no failure"),
    ],
)
def test_what_cannot_keep_its_promise_is_said(shape: Shape, says: str) -> None:
    found = list(mistakes(shape))

    assert any(says in mistake for mistake in found), found


def test_a_choreography_that_is_right_has_no_mistakes() -> None:
    assert list(mistakes(TOUR)) == []
    assert list(mistakes(HEARING)) == []
    assert [part.name for part in TOUR.owed(["Full"])] == ["hotel/free"]
    assert [part.name for part in TOUR.owed(["Failed"])] == ["hotel/free", "air/free"]


def test_what_has_to_come_from_outside_is_waited_for_by_name() -> None:
    state = told(seen("Requested"))
    assert AwaitWord("Approved") in outstanding(HEARING, state)

    assert AwaitWord("Approved") not in outstanding(HEARING, told(seen("Requested"), seen("Approved")))
    assert not any(isinstance(command, AwaitWord) for command in outstanding(TOUR, state))


def seen(type_: str, because: str | None = None, at: float = 100.0) -> Seen:
    return Seen(type_, f"id-{type_}", "shop", "k", "tours", "run-1", at, because and f"id-{because}")


def told(*signals: Seen | DeadlineCame) -> RunState:
    state = NEW
    for signal in signals:
        arrived = Arrived(signal) if isinstance(signal, Seen) else signal
        state = fold(evolve, state, decide(TOUR, state, arrived))
    return state


BEGUN = seen("Requested", at=100.0)
EARLY = seen("Room", "Requested")
BOOKED = (BEGUN, EARLY, seen("Seat", "Requested"), seen("Booked", "Seat"))
UNDONE = (BEGUN, EARLY, seen("Full", "Requested"), seen("RoomFree", "Full"))


@pytest.mark.parametrize("events, status", [(BOOKED, "completed"), (UNDONE, "compensated")])
def test_a_run_ends_alike_in_whatever_order_its_events_come(events: tuple[Seen, ...], status: str) -> None:
    chance = random.Random(7)
    for order in itertools.permutations(events):
        twice = [*order, *chance.choices(order, k=3)]

        assert summary_of(TOUR, told(*twice)).status == status


def test_what_comes_after_the_end_changes_nothing() -> None:
    state = told(*UNDONE)

    for late in (seen("Seat", "Requested"), seen("Booked"), DeadlineCame(1e9)):
        assert decide(TOUR, state, Arrived(late) if isinstance(late, Seen) else late) == ()


@pytest.mark.parametrize(
    "signals, events, status",
    [
        ((BEGUN, DeadlineCame(159.0)), [], "running"),
        ((BEGUN, DeadlineCame(160.0)), [Expired(160.0)], "compensating"),
        ((BEGUN, DeadlineCame(160.0), DeadlineCame(161.0)), [Expired(160.0)], "compensating"),
        ((BEGUN, DeadlineCame(160.0), DeadlineCame(220.0)), [Expired(160.0), Overdue(220.0)], "stuck"),
        ((*UNDONE[:3], DeadlineCame(160.0)), [], "compensating"),
        ((*UNDONE[:3], DeadlineCame(220.0)), [Overdue(220.0)], "stuck"),
        ((EARLY, DeadlineCame(160.0)), [], "running"),
        ((BEGUN, DeadlineCame(220.0), DeadlineCame(221.0)), [Expired(220.0)], "compensating"),
        ((EARLY, DeadlineCame(220.0), BEGUN, DeadlineCame(220.0)), [Expired(220.0), Overdue(220.0)], "stuck"),
        ((*UNDONE[:3], DeadlineCame(220.0), UNDONE[3]), [Overdue(220.0)], "compensated"),
    ],
)
def test_a_deadline_turns_a_run_back_once(
    signals: tuple[Seen | DeadlineCame, ...], events: list[Expired | Overdue], status: str
) -> None:
    state = told(*signals)
    found = [Expired(state.expired_at)] if state.expired_at is not None else []
    late = [signal.now for signal in signals if isinstance(signal, DeadlineCame)]

    assert [*found, *([Overdue(late[-1])] if state.is_overdue else [])] == events
    assert summary_of(TOUR, state).status == status


def test_an_explanation_says_which_event_never_came() -> None:
    signals = (BEGUN, seen("Room", "Requested"), DeadlineCame(160.0))
    events = list(itertools.chain(*_told_one_by_one(signals)))
    stream = StreamName("transaction/run-1")
    recorded = [
        Recorded(Position(n), stream, Version(n), event, 160.0, NodeId("n"))
        for n, event in enumerate(events, 1)
    ]
    explanation = str(explain_run(recorded, TOUR, now=160.0))

    assert "choreography tour run-1 is compensating, and nobody conducts it" in explanation
    assert "hotel/book said Room because of Requested" in explanation
    assert "the deadline passed, and Expired was published" in explanation
    assert "Seat or Full, which never came: air/book has not answered Requested" in explanation
    assert [type(command).__name__ for command in outstanding(TOUR, told(BEGUN))] == [
        "AwaitAnswer", "AwaitAnswer", "AwaitDeadline",
    ]  # fmt: skip


def _told_one_by_one(signals: tuple[Seen | DeadlineCame, ...]) -> list[tuple[ChoreographyEvent, ...]]:
    state, found = NEW, []
    for signal in signals:
        events = decide(TOUR, state, Arrived(signal) if isinstance(signal, Seen) else signal)
        state = fold(evolve, state, events)
        found.append(events)
    return found
