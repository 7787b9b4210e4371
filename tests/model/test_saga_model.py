"""Every reachable state of the saga protocol with its services, stores, network, nodes and people."""

from __future__ import annotations

import pytest

from finality.core.backoff import Retry
from finality.core.ids import Json
from finality.core.saga import Graph, Kind, Step, Wait, graph_of
from finality.testing.walk import walk
from tests.model.promises import Promises
from tests.model.world import Rules

ONCE = Retry(attempts=1, first_seconds=1.0, jitter=0.0)
TWICE = Retry(attempts=2, first_seconds=1.0, jitter=0.0)
ALWAYS = Retry(attempts=None, first_seconds=1.0, factor=1.0, jitter=0.0)
PIVOT, SERVICE = Kind.PIVOT, False


def step(name: str, *needs: str, local: bool = True, undo: bool = True, **shape: object) -> Step:
    defaults: dict[str, object] = {"retry": TWICE, "undo_retry": ONCE, "is_local": local, "has_undo": undo}
    return Step(name, needs, **(defaults | shape))  # type: ignore[arg-type]  # shape names fields of Step


def graph(*steps: Step, deadline: float | None = None, saga: str = "Saga") -> Graph:
    return graph_of(saga, steps, version="1", deadline_seconds=deadline)


def pivot(name: str, *needs: str, local: bool = True, retry: Retry = ONCE) -> Step:
    return step(name, *needs, kind=PIVOT, undo=False, retry=retry, local=local)


def behind(name: str, *needs: str, **shape: object) -> Step:
    return step(name, *needs, undo=False, **({"retry": ALWAYS} | shape))  # type: ignore[arg-type]  # shape names fields of Step


WORLDS = {
    "a chain of local steps": Rules(
        graph(step("a"), step("b", "a"), step("c", "b"), deadline=9.0),
        refusing=frozenset("c"), faults=3, may_park=True,
    ),
    "a pivot with a step aside": Rules(
        graph(step("a"), step("s", local=SERVICE), pivot("p", "a"), behind("r", "p", "s"), deadline=9.0),
        refusing=frozenset("sp"), faults=3,
    ),
    "a chain of services": Rules(
        graph(step("a", local=SERVICE), step("b", "a", local=SERVICE), deadline=9.0),
        refusing=frozenset("ab"), postponing=frozenset("b"), faults=4,
    ),
    "a diamond with a local pivot": Rules(
        graph(step("a"), step("b", "a"), step("c", "a", local=SERVICE), pivot("p", "b", "c"), deadline=9.0),
        refusing=frozenset("cp"), faults=3,
    ),
    "a service pivot and what is behind it": Rules(
        graph(
            step("a", local=SERVICE),
            pivot("p", "a", local=SERVICE),
            behind("r", "p", local=SERVICE),
            deadline=9.0,
        ),
        refusing=frozenset("pr"), postponing=frozenset("p"), faults=4,
    ),
    "a local pivot and a stubborn step behind it": Rules(
        graph(step("a"), pivot("p", "a"), behind("r", "p"), behind("s", "p", local=SERVICE)),
        refusing=frozenset("r"), faults=3, may_park=True,
    ),
    "a fan-out of services between two steps": Rules(
        graph(step("a"), step("f", "a", local=SERVICE, each="items", at_once=2), step("z", "f")),
        refusing=frozenset({"f[0]", "z"}), faults=2,
    ),
    "a fan-out one by one": Rules(
        graph(step("f", each="items", at_once=1), step("z", "f", local=SERVICE)),
        refusing=frozenset({"f[1]", "z"}), faults=3,
    ),
    "waits with and without a default": Rules(
        graph(
            step("a"),
            step("w", "a", wait=Wait("approval", 5.0, Json('"no"')), local=SERVICE),
            step("v", "a", wait=Wait("consent", 5.0)),
            pivot("p", "w", "v"),
            deadline=9.0,
        ),
        postponing=frozenset("w"), faults=2,
    ),
    "a timer, a wait for ever and one behind the pivot": Rules(
        graph(
            step("t", wait=Wait(None, 5.0)),
            pivot("p", "t"),
            behind("s", "p", wait=Wait("word", None)),
        ),
        faults=2,
    ),
    "conditions": Rules(
        graph(
            step("a", is_conditional=True, wait=Wait("go", 5.0)),
            step("b", "a", local=SERVICE, is_conditional=True),
            pivot("p", "b"),
            behind("r", "p", is_conditional=True),
        ),
        refusing=frozenset("abp"), faults=2,
    ),
    "a step without compensation in the middle": Rules(
        graph(step("a"), step("m", "a", local=SERVICE, undo=False), step("z", "m", local=SERVICE)),
        refusing=frozenset("z"), faults=2,
    ),
    "a child between two steps": Rules(
        graph(step("a"), step("k", "a", is_child=True, undo=False), step("z", "k"), deadline=9.0),
        child=graph(step("x"), step("y", "x", local=SERVICE), saga="Child"),
        refusing=frozenset({"y", "z"}), faults=2, may_cancel=True,
    ),
    "a child with a pivot": Rules(
        graph(step("a"), step("k", "a", is_child=True, undo=False)),
        child=graph(step("x"), pivot("q", "x", local=SERVICE), saga="Child"),
        refusing=frozenset("q"), faults=2,
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_every_saga_ends_all_done_or_all_undone_whatever_happens(name: str) -> None:
    rules = WORLDS[name]
    promises = Promises(rules)
    walked = walk(
        rules.start(), rules.moves,
        is_end=promises.is_end, check=promises.check, is_progress=promises.is_progress,
    )  # fmt: skip
    print(f"{name}: {walked}; {', '.join(f'{len(s.states):,} saga states' for s in rules.sagas)}")

    assert walked.ends
