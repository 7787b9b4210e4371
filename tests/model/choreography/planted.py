"""Known mistakes, planted into reactions and choreographies: the walk must catch every one of them.

python -m tests.model.choreography.planted      prints their table of docs/internals/planted-bugs.md
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from finality.core.choreography import run as core
from finality.runtime import inbox
from finality.runtime.inbox import Standing, Verdict
from finality.runtime.reaction import Against, ReactionCode
from finality.testing.walk import Counterexample, Walked, walk
from tests.model.choreography.promises import Promises
from tests.model.choreography.world import Event, Rules, Services, World, joins, reaction, says

Patch = pytest.MonkeyPatch


def chain() -> Rules:
    """Return a shop's: what is reserved is paid, or the payment is refused."""
    reserve = reaction("stock/reserve", "Begun", "Reserved", says("Reserved"))
    pay = reaction("bank/pay", "Reserved", "Done | Refused", says("Done", "Refused"))
    put_back = reaction("stock/put_back", "Refused | Failed", "Returned", says("Returned"), undoes=reserve)
    give_up = reaction("bank/give_up", "Expired", "Failed", says("Failed"), unless=pay)
    return Rules((reserve, pay, put_back, give_up), ("Refused", "Failed"))


def walked(rules: Rules) -> Walked[World]:
    """Walk every world that *rules* allow.

    Raises:
        Counterexample: A promise is broken.
    """
    promises = Promises(rules)
    return walk(
        rules.start(), rules.moves, is_end=promises.is_end, check=promises.check,
        is_progress=lambda move: not str(move).startswith("a person says"),
    )  # fmt: skip


def witness_behind_the_commit(patch: Patch) -> None:
    """The witness of an event is written in a transaction of its own, behind the effect's."""
    real = Rules.delivered

    def delivered(
        self: Rules, services: Services, event: Event, code: ReactionCode
    ) -> Iterator[tuple[str, Services]]:
        for move, after in real(self, services, event, code):
            yield move, after
            if after.events != services.events:
                yield f"{move}; it crashes before the witness", after._replace(rows=services.rows)

    patch.setattr(Rules, "delivered", delivered)


def unless_is_not_checked(patch: Patch) -> None:
    """A stand-in runs although the reaction that it stands in for has answered."""
    real = inbox.standing

    def standing(tx: Any, code: ReactionCode, arrived: Any, *, is_home: bool) -> Standing:
        is_stand_in = code.against is not None and code.against[0] is Against.UNLESS
        return Standing() if is_stand_in else real(tx, code, arrived, is_home=is_home)

    patch.setattr(inbox, "standing", standing)


def deadline_without_a_witness(patch: Patch) -> None:
    """Whoever gives up at the deadline leaves no witness for the reaction that completes."""
    real = inbox.conclude

    def conclude(tx: Any, code: ReactionCode, arrived: Any, kept: Any, *, is_home: bool) -> None:
        if code.against is not None and code.against[0] is Against.UNLESS:
            inbox.settle(tx, code.consumer, arrived, is_home=is_home)
        else:
            real(tx, code, arrived, kept, is_home=is_home)

    patch.setattr(inbox, "conclude", conclude)


def late_action_after_its_compensation(patch: Patch) -> None:
    """A reaction whose event comes after its own compensation runs all the same."""
    real = inbox.standing

    def standing(tx: Any, code: ReactionCode, arrived: Any, *, is_home: bool) -> Standing:
        there = real(tx, code, arrived, is_home=is_home)
        return Standing() if code.against is None and there.verdict is Verdict.LATE else there

    patch.setattr(inbox, "standing", standing)


def undone_at_the_first_compensation(patch: Patch) -> None:
    """A run counts as compensated as soon as one compensation has answered."""
    real = core.RunState.owed

    def owed(self: core.RunState, shape: Any) -> Any:
        found, all_ = real(self, shape), shape.owed(self.failures(shape))
        return found if found == all_ else ()

    patch.setattr(core.RunState, "owed", owed)


def seen_twice_counts_twice(patch: Patch) -> None:
    """The watcher does not know an event again that it has seen."""
    real = core.decide

    def decide(shape: Any, state: core.RunState, signal: Any) -> Any:
        if isinstance(signal, core.Arrived) and state.end is None:
            forgotten = tuple(each for each in state.seen if each.id != signal.seen.id)
            return real(shape, replace(state, seen=forgotten), signal)
        return real(shape, state, signal)

    patch.setattr(core, "decide", decide)


PLANTED = (
    witness_behind_the_commit,
    unless_is_not_checked,
    deadline_without_a_witness,
    late_action_after_its_compensation,
    undone_at_the_first_compensation,
    seen_twice_counts_twice,
)


def tour() -> Rules:
    """Return a tour's: a room and a seat, side by side; the seat may be refused."""
    room = reaction("hotel/book", "Begun", "Room", says("Room"))
    seat = reaction("air/book", "Begun", "Seat | Full", says("Seat", "Full"))
    confirm = reaction("tour/confirm", "Room | Seat", "Done | None", joins("Room", "Seat", answer="Done"))
    return Rules(
        (
            room, seat, confirm,
            reaction("hotel/free", "Full | Failed", "RoomFree", says("RoomFree"), undoes=room),
            reaction("air/free", "Failed", "SeatFree", says("SeatFree"), undoes=seat),
            reaction("tour/give_up", "Expired", "Failed", says("Failed"), unless=confirm),
        ),
        ("Full", "Failed"),
    )  # fmt: skip


def row(plant: Callable[[Patch], None]) -> str:
    """Return a mistake's row of the table."""
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        for rules in (chain(), tour()):
            try:
                walked(rules)
            except Counterexample as found:
                return f"| {(plant.__doc__ or '').rstrip('.')} | {'; '.join(found.trace)} | {found.broken} |"
    return f"| {(plant.__doc__ or '').rstrip('.')} | – | nothing |"


if __name__ == "__main__":
    for each in PLANTED:
        print(row(each))
