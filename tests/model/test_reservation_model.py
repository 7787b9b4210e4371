"""Every reachable state of a reservation with its participant, its network and its coordinator.

The coordinator decides commit only after the try has answered, and abort at any time; whoever
recovers for it knows the decision and nothing else. Requests are repeated, lost and overtake each
other. A crash of the participant loses an answer, or the whole local transaction: never half of one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from finality.core import reservation
from finality.core.ids import Json
from finality.core.reservation import (
    NEVER_TRIED,
    Ask,
    Proceed,
    RecordOnly,
    Repeat,
    Reply,
    Reserved,
    Stage,
    finished,
    refused,
    tried,
)
from finality.core.two_phase import Decision
from finality.testing.walk import Counterexample, walk

TRY, CONFIRM, CANCEL, LAPSE = Ask.TRY, Ask.CONFIRM, Ask.CANCEL, Ask.LAPSE
COMMIT, ABORT = Decision.COMMIT, Decision.ABORT
HELD = Json("1")
FAILURES = 1  # Of a confirm or a cancel that raises, before it works.

AnswerTo = Callable[[Reserved, Ask], Reply]


class World(NamedTuple):
    """One reservation, and all who have to do with it.

    Attributes:
        held: Units that tries have taken and nobody has given back or sold.
        sold: Units that confirms have sold.
        flight: Requests on their way; each may arrive more than once, late, or never.
        heard_yes: The coordinator has heard that the try holds.
        did: What the coordinator has heard that the branch did.
        expired: 0 in time, 1 too late to vote, 2 late enough to lapse.
    """

    recorded: Reserved = NEVER_TRIED
    held: int = 0
    sold: int = 0
    flight: frozenset[Ask] = frozenset()
    heard_yes: bool = False
    decision: Decision | None = None
    did: Decision | None = None
    expired: int = 0
    failures: int = FAILURES


class Rules:
    """What can happen next, to a participant that answers with *answer_to*."""

    def __init__(self, answer_to: AnswerTo = reservation.answer_to, *, may_lapse: bool = False) -> None:
        self.answer_to = answer_to
        self.may_lapse = may_lapse

    def moves(self, world: World) -> Iterator[tuple[str, World]]:
        yield from self.coordinator(world)
        for ask in sorted(world.flight, key=lambda ask: ask.value):
            yield f"{ask.value} is lost", world._replace(flight=world.flight - {ask})
            for move, after in self.served(world, ask):
                yield f"{ask.value} arrives{move}", after
        if world.expired < 2:
            yield "time passes", world._replace(expired=world.expired + 1)
        if self.may_lapse and world.expired == 2 and world.recorded.stage is Stage.TRIED:
            yield "it lapses", self.run(world, LAPSE)

    def coordinator(self, world: World) -> Iterator[tuple[str, World]]:
        if world.decision is None:
            yield "asks to try", world._replace(flight=world.flight | {TRY})
            yield "decides abort", world._replace(decision=ABORT)
            if world.heard_yes and world.expired == 0:
                yield "decides commit", world._replace(decision=COMMIT)
        elif world.did is None:
            ask = CONFIRM if world.decision is COMMIT else CANCEL
            yield f"asks to {ask.value}", world._replace(flight=world.flight | {ask})

    def served(self, world: World, ask: Ask) -> Iterator[tuple[str, World]]:
        reply = self.answer_to(world.recorded, ask)
        if ask is TRY and isinstance(reply, Proceed):
            said_no = world._replace(recorded=refused("sold out"))
            yield ", is refused", said_no
            yield ", fails", world
        elif world.failures and isinstance(reply, Proceed):
            yield ", fails", world._replace(failures=world.failures - 1)
        after = self.run(world, ask)
        yield ", and the answer is lost", after
        if ask is TRY and after.recorded.stage is Stage.TRIED:
            yield ", and answers", after._replace(heard_yes=True)
        elif ask is not TRY and after.recorded.did is not None:
            yield ", and answers", after._replace(did=after.recorded.did)

    def run(self, world: World, ask: Ask) -> World:
        reply = self.answer_to(world.recorded, ask)
        if isinstance(reply, RecordOnly):
            return world._replace(recorded=finished(world.recorded, ask))
        if not isinstance(reply, Proceed):
            return world
        if ask is TRY:
            return world._replace(recorded=tried(HELD), held=world.held + 1)
        is_due = world.recorded.stage is Stage.TRIED
        recorded = finished(world.recorded, ask) if is_due else world.recorded
        sold = world.sold + (ask is CONFIRM)
        return world._replace(recorded=recorded, held=world.held - 1, sold=sold)


def check(world: World) -> None:
    stage = world.recorded.stage

    assert world.held == (stage is Stage.TRIED), f"{world.held} held and it is {stage.value}"
    assert world.sold == (stage is Stage.CONFIRMED), f"{world.sold} sold and it is {stage.value}"
    if world.did is not None:
        assert world.did is world.recorded.did, "what was heard is not what was done"
    if stage is Stage.CONFIRMED:
        assert world.decision is COMMIT, "it was confirmed, and nobody has decided so"
    if world.decision is COMMIT and world.recorded.did is ABORT:
        assert world.recorded.because == reservation.LAPSED, "it was cancelled against the decision"


def is_end(world: World) -> bool:
    return world.did is not None


@pytest.mark.parametrize("may_lapse", [False, True], ids=["asks the home", "lapses by itself"])
def test_a_reservation_is_confirmed_or_leaves_nothing_whatever_happens(may_lapse: bool) -> None:
    rules = Rules(may_lapse=may_lapse)
    walked = walk(World(), rules.moves, is_end=is_end, check=check)
    print(walked)
    told = {(world.decision, world.did) for world in walked.ends}

    heuristic = {(COMMIT, ABORT)} if may_lapse else set()
    assert told == {(COMMIT, COMMIT), (ABORT, ABORT)} | heuristic


# ── Planted bugs: each must be found ────────────────────────────────────────────────────────


def no_empty_cancel(recorded: Reserved, ask: Ask) -> Reply:
    """A cancel that finds nothing is done, and nobody remembers it."""
    reply = reservation.answer_to(recorded, ask)
    return Repeat() if isinstance(reply, RecordOnly) else reply


def late_try_allowed(recorded: Reserved, ask: Ask) -> Reply:
    """A try runs although it was cancelled before it came."""
    if ask is TRY and recorded.stage is Stage.CANCELLED:
        return Proceed()
    return reservation.answer_to(recorded, ask)


def confirm_runs_again(recorded: Reserved, ask: Ask) -> Reply:
    """A confirm that is repeated has its effect twice."""
    if ask is CONFIRM and recorded.stage is Stage.CONFIRMED:
        return Proceed(recorded.held)
    return reservation.answer_to(recorded, ask)


def cancel_runs_again(recorded: Reserved, ask: Ask) -> Reply:
    """A cancel that is repeated gives back twice."""
    if ask is CANCEL and recorded.stage is Stage.CANCELLED:
        return Proceed(recorded.held)
    return reservation.answer_to(recorded, ask)


@pytest.mark.parametrize(
    "planted, found",
    [
        (no_empty_cancel, "what was heard is not what was done"),
        (late_try_allowed, "what was heard is not what was done"),
        (confirm_runs_again, "-1 held and it is confirmed"),
        (cancel_runs_again, "-1 held and it is cancelled"),
    ],
)
def test_a_planted_bug_is_found(planted: AnswerTo, found: str) -> None:
    with pytest.raises(Counterexample, match=found) as caught:
        walk(World(), Rules(planted).moves, is_end=is_end, check=check)

    print(caught.value)
    assert len(caught.value.trace) <= 8, "a shortest way is told"
