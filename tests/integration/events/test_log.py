"""The log workload: no event is lost, doubled, aborted, reordered or skipped, whoever is killed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from finality.testing import PostgresServer
from tests.integration.events.log import Server, judged, log
from tests.integration.events.log_parts import Taken
from tests.integration.kit import url_of

pytestmark = pytest.mark.slow


def test_the_judge_sees_each_kind_of_fault() -> None:
    """A checker is software: faults are planted in what it is given."""
    committed = {("a", number): "k" for number in range(4)}
    right = [Taken(f"e{number}", "k", "a", number) for number in range(4)]

    def faults(taken: list[Taken]) -> tuple[int, ...]:
        report = judged(committed, taken)
        return report.lost, report.skipped, report.aborted, report.doubled, report.reordered

    assert faults(right) == faults([*right, right[0]]) == (0, 0, 0, 0, 0)
    assert faults(right[:3]) == (1, 0, 0, 0, 0)
    assert faults([right[0], *right[2:]]) == (1, 1, 0, 0, 0)
    assert faults([*right, Taken("e9", "k", "a", 9)]) == (0, 0, 1, 0, 0)
    assert faults([*right, Taken("e9", "k", "a", 3)]) == (0, 0, 0, 1, 0)
    assert faults([right[1], right[0], *right[2:]]) == (0, 0, 0, 0, 1)


def test_on_sqlite(tmp_path: Path) -> None:
    report = asyncio.run(log(url_of(tmp_path), url_of(tmp_path, "events"), tmp_path, seed=1))

    assert report.is_clean, report
    assert report.committed > 150


def test_on_postgresql(finality_postgres: PostgresServer, tmp_path: Path) -> None:
    """With late committers and prepared branches, whose sequence numbers are lower than what was relayed."""
    report = asyncio.run(log(finality_postgres.database(), url_of(tmp_path, "events"), tmp_path, seed=2))

    assert report.is_clean, report
    assert report.committed > 150


def test_over_a_server_that_is_killed_too(server: Server, tmp_path: Path) -> None:
    report = asyncio.run(log(url_of(tmp_path), server.url, tmp_path, seed=3, server=server))

    assert report.is_clean, report
    assert report.committed > 150
