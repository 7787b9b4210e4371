"""What the documents state about errors and limits is so in the code."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import finality
from finality.core.errors import FinalityError
from tests.tidy.rules import ROOT

ROW = re.compile(r"^\| `(\w+)` \| `?([^`|]+?)`? \|", re.MULTILINE)
LIMIT = re.compile(r"^\| `(\w+)` \| ([^|]+) \| `([\w.]+)` \|", re.MULTILINE)


def written(page: str) -> str:
    return Path(ROOT / "docs" / page).read_text("utf-8")


def every_error() -> dict[str, str]:
    """Return the code of each error class, by its name, once every module has been imported."""
    for module in walk_packages(finality.__path__, "finality."):
        if not module.name.endswith("__main__") and not module.name.startswith("finality.testing"):
            import_module(module.name)
    found: dict[str, str] = {}
    waiting: list[Any] = [FinalityError]
    while waiting:
        error = waiting.pop()
        if error.__module__.startswith("finality."):
            found[error.__name__] = error.code
            waiting += error.__subclasses__()
    return found


def test_every_error_is_explained_under_its_code() -> None:
    assert dict(ROW.findall(written("reference/errors.md"))) == every_error()


def test_no_two_errors_share_a_code() -> None:
    codes = sorted(every_error().values())

    assert codes == sorted(set(codes))


def test_every_limit_has_the_value_that_is_stated() -> None:
    stated = LIMIT.findall(written("concepts/limits.md"))

    assert len(stated) >= 10, "the table of limits was not found"
    for name, text, module in stated:
        value = getattr(import_module(f"finality.{module}"), name)
        number = float(re.sub(r"[ ,]", "", re.match(r"[\d,. ]+", text)[0]))  # type: ignore[index]  # each begins so

        assert number == value, f"{name} is {value} and {text!r} is stated"
