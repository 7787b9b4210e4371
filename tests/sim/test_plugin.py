"""The pytest plugin: what it brings, and that it costs nothing where it is not used."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import finality
from finality.testing import World
from tests.sim.test_crash_everywhere import Note, create_note, one_note_at_most


def test_crash_everywhere_is_a_fixture(crash_everywhere: Callable[..., Any]) -> None:
    report = crash_everywhere(Note("a"), setup=create_note, invariants=one_note_at_most, only=())

    assert report.runs == 1


def test_a_node_is_a_fixture(finality_node: finality.Node) -> None:
    finality_node.run(lambda tx: tx.execute("CREATE TABLE note (text TEXT)"))

    assert finality_node.start(Note("a")).outcome(timeout=10).status is finality.COMPLETED


def test_a_simulation_is_a_fixture(simulation: Callable[..., World]) -> None:
    world = simulation([Note])
    create_note(world)
    first, second = world.open(), world.open()
    handle = world.run(first.ask(lambda node: node.start(Note("a"))))
    first.kill()

    assert world.run(second.ask(lambda node: node.outcome(handle.id))).status is finality.COMPLETED


@pytest.mark.slow
def test_the_plugin_imports_nothing_of_the_engine() -> None:
    code = "import sys, finality.testing.plugin; print([m for m in sys.modules if 'finality' in m])"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout

    assert found.strip() == "['finality', 'finality.testing', 'finality.testing.plugin']"
