"""The circuit breaker: tables, and every state that two nodes and a clock can bring it to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from finality.core.breaker import (
    EMPTY,
    Breaker,
    BreakerEvent,
    BreakerPolicy,
    BreakerSignal,
    CallFailed,
    CallSucceeded,
    CallWanted,
    Closed,
    Opened,
    ProbeStarted,
    Tally,
    decide,
    evolve,
)
from finality.core.protocol import fold
from finality.testing.walk import walk

POLICY = BreakerPolicy(failures=2, window_seconds=10, open_seconds=10)
ONE, TWO = Tally((3.0,)), Tally((3.0, 4.0))
OPEN, PROBE = Opened(14.0, "down"), ProbeStarted("a", 24.0)


def failed(by: str, now: float, tally: Tally) -> CallFailed:
    return CallFailed(by, now, "down", tally)


# fmt: off
TABLE: list[tuple[tuple[BreakerEvent, ...], BreakerSignal, tuple[BreakerEvent, ...]]] = [
    # given          when                        then
    ((),             CallWanted("a", 4),         ()),
    ((),             CallSucceeded("a"),         ()),
    ((),             failed("a", 4, ONE),        ()),
    ((),             failed("a", 4, TWO),        (OPEN,)),
    ((OPEN,),        CallWanted("a", 13),        ()),
    ((OPEN,),        CallWanted("a", 14),        (PROBE,)),
    ((OPEN,),        failed("b", 5, TWO),        ()),                       # A call from before it opened.
    ((OPEN,),        CallSucceeded("b"),         ()),                       # Likewise.
    ((OPEN, PROBE),  CallWanted("b", 15),        ()),
    ((OPEN, PROBE),  CallSucceeded("b"),         ()),
    ((OPEN, PROBE),  failed("b", 15, TWO),       ()),
    ((OPEN, PROBE),  CallSucceeded("a"),         (Closed(),)),
    ((OPEN, PROBE),  failed("a", 15, ONE),       (Opened(25.0, "down"),)),
    ((OPEN, PROBE),  CallWanted("b", 24),        (ProbeStarted("b", 34.0),)),  # The node a is gone.
]
# fmt: on


@pytest.mark.parametrize("given,when,then", TABLE)
def test_given_these_events_a_signal_makes_those_true(
    given: tuple[BreakerEvent, ...], when: BreakerSignal, then: tuple[BreakerEvent, ...]
) -> None:
    state = fold(evolve, Breaker(POLICY), given)

    assert decide(state, when) == then
    assert decide(fold(evolve, state, then), when) == ()


def test_a_tally_counts_what_is_in_the_window_and_no_more_than_matters() -> None:
    tally = EMPTY
    for now in (0.0, 1.0, 2.0, 3.0):
        tally = tally.failed(now, POLICY)

    assert tally == Tally((2.0, 3.0))
    assert tally.is_enough(POLICY)
    assert not tally.failed(14.0, POLICY).is_enough(POLICY)


@pytest.mark.parametrize("wrong", [{"failures": 0}, {"window_seconds": 0}, {"open_seconds": -1}])
def test_a_policy_that_cannot_work_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="give"):
        BreakerPolicy(**wrong)


NODES = "ab"
TIME_MAX = 9


class World(NamedTuple):
    """Two nodes and a clock; a call in flight remembers whether it is the probe."""

    breaker: Breaker
    now: int = 0
    tallies: tuple[Tally, ...] = (EMPTY, EMPTY)
    calling: frozenset[str] = frozenset()


SMALL = BreakerPolicy(failures=2, window_seconds=2, open_seconds=2)


def moves(world: World) -> Iterator[tuple[str, World]]:
    if world.now < TIME_MAX:
        yield "tick", world._replace(now=world.now + 1)
    for number, node in enumerate(NODES):
        if node not in world.calling:
            wanted = told(world, CallWanted(node, world.now))
            if wanted.breaker.may_call(node, world.now):
                yield f"{node} calls", wanted._replace(calling=wanted.calling | {node})
            continue
        landed = world._replace(calling=world.calling - {node})
        yield f"{node} dies", landed
        yield f"{node} succeeds", tallied(told(landed, CallSucceeded(node)), number, EMPTY)
        tally = world.tallies[number].failed(world.now, SMALL)
        yield (
            f"{node} fails",
            told(tallied(landed, number, tally), CallFailed(node, world.now, "down", tally)),
        )


def told(world: World, signal: BreakerSignal) -> World:
    events = decide(world.breaker, signal)
    breaker = fold(evolve, world.breaker, events)

    assert decide(breaker, signal) == (), f"{signal} is heard twice"
    return world._replace(breaker=breaker)


def tallied(world: World, number: int, tally: Tally) -> World:
    return world._replace(tallies=(*world.tallies[:number], tally, *world.tallies[number + 1 :]))


def check(world: World) -> None:
    breaker = world.breaker
    may_call = [node for node in NODES if breaker.may_call(node, world.now)]

    assert len(may_call) == 2 or breaker.until is not None, f"{breaker} is closed and keeps {may_call} out"
    if breaker.until is not None:
        assert len(may_call) <= 1, f"{breaker} lets {may_call} in"
        assert breaker.until <= world.now + SMALL.open_seconds, f"{breaker} is open for too long"
    if breaker.prober is not None:
        assert breaker.until is not None, f"{breaker} probes and is closed"


@pytest.mark.slow
def test_a_breaker_always_closes_again_and_never_lets_two_probe() -> None:
    walked = walk(
        World(Breaker(SMALL)),
        moves,
        is_end=lambda world: world.breaker.is_closed or world.now == TIME_MAX,
        check=check,
        is_progress=lambda move: "fails" not in str(move) and "dies" not in str(move),
    )

    assert walked.states > 1_000
