"""Every anomaly is played on each store that can be a home."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.anomalies.stage import sqlite_url


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a fresh store."""
    return "memory://" if request.param == "memory" else sqlite_url(tmp_path)
