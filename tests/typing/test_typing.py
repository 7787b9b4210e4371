"""The files beside this one say how the public API reads to a type checker; mypy is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from mypy import api

ROOT = Path(__file__).parents[2]
FILES = sorted(file for file in Path(__file__).parent.glob("*.py") if not file.name.startswith("test_"))


@pytest.mark.slow
def test_a_type_checker_accepts_what_works_and_refuses_what_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under --strict an expected error that does not come is an error: the comment is unused."""
    monkeypatch.chdir(ROOT)
    report, trouble, status = api.run(["--strict", *map(str, FILES)])

    assert FILES
    assert (status, trouble) == (0, ""), report
