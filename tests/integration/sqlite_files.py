"""What the tests of SQLite files share: opening, checking, and code in a process of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from finality.adapters.sqlite.store import SqliteHome
from finality.core.errors import FinalityError
from tests.conformance.worlds import CountingEnvironment, codec
from tests.tidy.rules import ROOT


def opening(path: Path) -> FinalityError:
    """Return the error of opening *path*."""

    async def main() -> None:
        home = SqliteHome(path, CountingEnvironment(is_threaded=False), codec())
        await home.close()

    with pytest.raises(FinalityError) as error:
        asyncio.run(main())
    return error.value


def python(code: str, *arguments: object) -> str:
    """Run *code* in a process of its own and return what it printed."""
    child = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
    return child.stdout


def check_integrity(path: Path) -> None:
    connection = apsw.Connection(str(path))
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
