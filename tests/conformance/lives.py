"""A process that has everything imported, and forks a child for each life."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable

from tests.tidy.rules import ROOT


def acknowledge(what: str) -> None:
    """Tell the parent, past every buffer, that *what* is durable."""
    os.write(1, f"{what}\n".encode())


class Lives:
    """The process, which runs a module that calls ``serve``."""

    def __init__(self, module: str) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> Lives:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate(timeout=60)

    def live(self, *arguments: object) -> tuple[int, list[str]]:
        """Let a child live; return how it ended and what it acknowledged."""
        stdin, stdout = self._server.stdin, self._server.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write("\t".join(map(str, arguments)) + "\n")
        stdin.flush()
        acknowledged: list[str] = []
        for line in stdout:
            if line.startswith("ended "):
                code = int(line.split()[1])
                assert code in (0, -signal.SIGKILL), "the child failed in another way"
                return code, acknowledged
            acknowledged.append(line.strip())
        raise AssertionError("the process that forks the children has failed")


def serve(lines: Iterable[str], live: Callable[..., None]) -> None:
    """Fork a child for each line that the parent writes."""
    for line in lines:
        child = os.fork()
        if child == 0:
            try:
                live(*line.rstrip("\n").split("\t"))
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        acknowledge(f"ended {os.waitstatus_to_exitcode(status)}")
