"""The standard library's SQLite in a process of its own, as any foreign program on a user's file.

Not in this process: a second SQLite in it would drop the locks of the first whenever it closes a file.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import pickle
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tests.tidy.rules import ROOT


class Foreign:
    """The process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.foreign"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        atexit.register(self._process.communicate)

    def ask(self, *request: Any) -> Any:
        """Return what the process answers; raise what it raises."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        pickle.dump(request, stdin)
        stdin.flush()
        answer = pickle.load(stdout)
        if isinstance(answer, Exception):
            raise answer
        return answer


@functools.cache
def foreign() -> Foreign:
    """Return the process; there is one."""
    return Foreign()


class Client:
    """A connection there."""

    def __init__(self, path: Path) -> None:
        self._number = foreign().ask("open", str(path))

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement; return its rows."""
        rows: list[tuple[Any, ...]] = foreign().ask("execute", self._number, sql)
        return rows

    def close(self) -> None:
        """Close it."""
        foreign().ask("close", self._number)


@contextlib.contextmanager
def client(path: Path) -> Iterator[Client]:
    """Give a connection that is closed afterwards."""
    made = Client(path)
    try:
        yield made
    finally:
        made.close()


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer until nobody asks any more."""
    clients: dict[int, sqlite3.Connection] = {}
    with contextlib.suppress(EOFError):
        while True:
            answer: Any = None
            match pickle.load(requests):
                case ("open", path):
                    answer = max(clients, default=0) + 1
                    # The time-out is short, so that a test sees a lock rather than waits for it.
                    clients[answer] = sqlite3.connect(path, isolation_level=None, timeout=0.05)
                    clients[answer].execute("PRAGMA foreign_keys = ON")
                case ("execute", number, sql):
                    try:
                        answer = clients[number].execute(sql).fetchall()
                    except sqlite3.Error as error:
                        answer = error
                case ("close", number):
                    clients.pop(number).close()
            pickle.dump(answer, answers)
            answers.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
