"""Every reachable state of small choreographies: whatever is delivered when, a run is done or undone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from finality.core.choreography import Completed, Undone, mistakes
from tests.model.choreography.planted import PLANTED, Patch, chain, row, tour, walked
from tests.model.choreography.world import Rules, joins, reaction, says

TABLE = Path(__file__).resolve().parents[3] / "docs" / "internals" / "planted-bugs.md"


def approved() -> Rules:
    """Return one that waits for a person's word, and sends a letter that nobody takes back."""
    room = reaction("hotel/book", "Begun", "Room", says("Room"))
    confirm = reaction("tour/confirm", "Room | Yes", "Done | None", joins("Room", "Yes", answer="Done"))
    return Rules(
        (
            room, confirm,
            reaction("post/write", "Room", "None", says(None)),
            reaction("hotel/free", "Failed", "RoomFree", says("RoomFree"), undoes=room),
            reaction("tour/give_up", "Expired", "Failed", says("Failed"), unless=confirm),
        ),
        ("Failed",), keeps=("post/write",), hears=("Yes",),
    )  # fmt: skip


def stacked() -> Rules:
    """Return one in which a seat stands on a payment, and is given back before the money."""
    pay = reaction("bank/pay", "Begun", "Paid", says("Paid"))
    seat = reaction("air/book", "Paid", "Seat", says("Seat"))
    ticket = reaction("air/ticket", "Seat", "Done | NoTicket", says("Done", "NoTicket"))
    return Rules(
        (
            pay, seat, ticket,
            reaction("air/free", "NoTicket | Failed", "SeatFree", says("SeatFree"), undoes=seat),
            reaction("bank/refund", "SeatFree", "Refunded", says("Refunded"), undoes=pay),
            reaction("air/give_up", "Expired", "Failed", says("Failed"), unless=ticket),
        ),
        ("NoTicket", "Failed"), is_stacked=True,
    )  # fmt: skip


WORLDS = {"chain": chain, "fork and join": tour, "a word from outside": approved, "stacked": stacked}


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_every_run_ends_done_or_undone_whatever_is_delivered_when(name: str) -> None:
    rules = WORLDS[name]()
    assert list(mistakes(rules.shape)) == []
    seen = walked(rules)
    print(
        f"{name}: {seen}; {len(rules.services.values):,} of the services, {len(rules.runs.values):,} of a run"
    )

    assert {type(rules.runs.values[world.run].end) for world in seen.ends} == {Completed, Undone}


@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_mistake_is_caught_on_the_shortest_way(plant: Callable[[Patch], None]) -> None:
    shown = row(plant)

    assert "–" not in shown
    assert shown in TABLE.read_text("utf-8"), "print the table anew"
