"""Every reachable state of two-phase commit with its participants, network, home, nodes and people."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.model.two_phase.planted import PLANTED, YES, YES_OR_NO, Planted, row, walked
from tests.model.two_phase.world import ANY, Rules

TABLE = Path(__file__).resolve().parents[3] / "docs" / "internals" / "planted-bugs.md"

WORLDS = {
    "one branch commits in one phase": Rules((ANY,)),
    "two branches with any vote": Rules((ANY, ANY)),
    "three branches": Rules((YES, YES_OR_NO, YES), recoverers=1),
    "a PREPARE lands after its abort was answered": Rules((YES, YES_OR_NO), late=frozenset("ab")),
    "a person finishes both": Rules((YES, YES), recoverers=1, hands=2),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_every_branch_agrees_with_the_first_decision_whatever_happens(name: str) -> None:
    rules = WORLDS[name]
    seen = walked(rules)
    print(f"{name}: {seen}; {len(rules.known.states):,} transaction states")

    assert seen.ends


@pytest.mark.slow
@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.plant.__name__)
def test_a_planted_mistake_is_caught_on_the_shortest_way(planted: Planted) -> None:
    shown = row(planted)

    assert "–" not in shown
    assert shown in TABLE.read_text("utf-8"), "print the table anew"
