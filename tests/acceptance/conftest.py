"""What every acceptance test of the command line starts with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.command_line import Terminal


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """A folder of one's own, with a file of sagas in it."""
    return Terminal(tmp_path)
