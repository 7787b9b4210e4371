"""Every state that a saga can reach is explained, and the explanation forgets nothing that is owed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from finality.core.explain import explain
from finality.core.ids import NodeId, Position, StreamName, Version
from finality.core.protocol import Recorded
from finality.core.saga import events as e
from finality.testing.walk import walk
from tests.model.sagas import NEW, Sagas
from tests.model.test_saga_model import WORLDS

STREAM = StreamName("transaction/trip-42")


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_every_reachable_saga_is_explained(name: str) -> None:
    rules = replace(WORLDS[name], faults=1)
    walk(rules.start(), rules.moves, is_end=lambda world: True)

    for sagas in rules.sagas:
        for saga in range(NEW + 1, len(sagas.states)):
            check_explained(sagas, saga)


def check_explained(sagas: Sagas, saga: int) -> None:
    story = sagas.story(saga)
    recorded = [
        Recorded(Position(place), STREAM, Version(place), event, 60.0 * place, NodeId("node-1"))
        for place, event in enumerate(story, start=1)
    ]
    explanation = explain(recorded, sagas.graph, now=60.0 * len(story) + 90, driver="node-2")
    commands = sagas.commands[saga]

    assert len(explanation.happened) == len(story)
    assert len(explanation.waits_for) == len(commands)
    assert len(set(explanation.waits_for)) == len(commands)
    for command, sentence in zip(commands, explanation.waits_for, strict=True):
        assert getattr(command, "step", "") in sentence
        assert "ago" in sentence, f"since when? {sentence}"
    text = str(explanation)
    assert "trip-42" in text
    assert ("node-2" in text) == bool(commands)
    if any(isinstance(command, e.AskPerson) for command in commands):
        assert 'finality transaction retry trip-42 --because "…"' in text
