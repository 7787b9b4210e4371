"""Every reachable state of three-phase commit: with crashes, and with a split network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from finality.testing.walk import Counterexample
from tests.model.three_phase.planted import PLANTED, row
from tests.model.three_phase.promises import walked
from tests.model.three_phase.world import Rules

DOCS = Path(__file__).resolve().parents[3] / "docs"

WORLDS = {
    "two agents and two crashes": Rules(2, crashes=2),
    "two agents and three crashes after the votes": Rules(2, crashes=3, has_voted=True),
    "three agents and one crash after the votes": Rules(3, crashes=1, has_voted=True),
    "three agents, all but one of four sites lost": Rules(3, crashes=3, has_voted=True, may_return=False),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_with_crashes_only_nobody_waits_for_the_dead_and_all_agree(name: str) -> None:
    rules = WORLDS[name]
    seen = walked(rules)
    print(f"{name}: {seen}")

    assert seen.ends


def test_a_split_network_has_two_outcomes_and_the_page_shows_the_shortest_way() -> None:
    with pytest.raises(Counterexample) as found:
        walked(Rules(2, may_split=True))
    steps = [f"{number:2}. {move}" for number, move in enumerate(found.value.trace, start=1)]
    shown = "\n".join([*steps, found.value.broken])
    print(shown)

    assert found.value.broken == "two outcomes: the coordinator: commit, b: abort"
    assert any("the network splits" in step for step in steps)
    assert shown in (DOCS / "patterns" / "three-phase.md").read_text("utf-8")


@pytest.mark.slow
def test_without_a_split_the_same_world_has_one_outcome() -> None:
    assert walked(Rules(2)).ends


@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_mistake_is_caught_on_the_shortest_way(plant: Callable[[pytest.MonkeyPatch], None]) -> None:
    shown = row(plant)

    assert "–" not in shown
    assert shown in (DOCS / "internals" / "planted-bugs.md").read_text("utf-8"), "print the table anew"
