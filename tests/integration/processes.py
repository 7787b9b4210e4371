"""Nodes in processes of their own, to be killed, paused and asked to stop."""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw

from tests.integration.forks import PROCESSES
from tests.integration.kit import eventually

PREFACE = '''
import asyncio, os, signal, sys, threading, time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
import finality
from finality.adapters.system.environment import SystemEnvironment

HERE = Path(sys.argv[1])
URL = f"sqlite:///{HERE}/home.db"

def mark(name):
    (HERE / name).write_text(str(os.getpid()))

def wait_for(name, seconds=30):
    give_up = time.monotonic() + seconds
    while not (HERE / name).exists():
        if time.monotonic() > give_up:
            raise TimeoutError(name)
        time.sleep(0.002)

class Dying(SystemEnvironment):
    """Dies as kill -9 does when it reaches a crash point for the n-th time, once it is armed."""

    def __init__(self, point, times):
        super().__init__()
        self.point, self.left, self.is_armed = point, times, False

    def reach(self, point):
        if self.is_armed and point == self.point:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
'''


class Process(ABC):
    """A process that runs a node."""

    def __init__(self, folder: Path, code: str, *arguments: str) -> None:
        self.folder = folder
        # In a file, so that its classes have a module whose names can be resolved.
        self._path = folder / f"node-{len(list(folder.glob('node-*.py')))}.py"
        self._path.write_text(PREFACE + textwrap.dedent(code))
        self._start([str(self._path), str(folder), *arguments])

    @abstractmethod
    def _start(self, arguments: list[str]) -> None: ...

    @property
    @abstractmethod
    def is_over(self) -> bool:
        """Say whether it has ended."""

    @property
    @abstractmethod
    def pid(self) -> int:
        """Return its number."""

    @property
    def is_stopped(self) -> bool:
        """Say whether each of its threads has been stopped."""
        stats = [path.read_text() for path in Path(f"/proc/{self.pid}/task").glob("*/stat")]
        return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)

    @abstractmethod
    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""

    @abstractmethod
    def end(self, seconds: float = 30.0) -> tuple[int, str, str]:
        """Wait for its end; return its status and what it printed."""

    def marked(self, name: str) -> bool:
        """Say whether it has set the mark; fail if it ended without."""
        if (self.folder / name).exists():
            return True
        assert not self.is_over, f"it ended before {name}: {self.end()}"
        return False

    def kill(self) -> None:
        """Kill it, if it still runs, and reap it."""
        if not self.is_over:
            self.send(signal.SIGCONT)
            self.send(signal.SIGKILL)
        self.end()


class Fork(Process):
    """A child of a process that has imported everything, so that it starts at once."""

    def _start(self, arguments: list[str]) -> None:
        self._process = PROCESSES.Process(target=live, args=(arguments,))
        self._process.start()

    @property
    def is_over(self) -> bool:
        """Say whether it has ended."""
        return not self._process.is_alive()

    @property
    def pid(self) -> int:
        """Return its number."""
        assert self._process.pid is not None, "it was started"
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        with contextlib.suppress(ProcessLookupError):  # It has ended.
            os.kill(self.pid, number)

    def end(self, seconds: float = 30.0) -> tuple[int, str, str]:
        """Wait for its end; return its status and what it printed."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, "it has not ended in time"
        return self._process.exitcode, self._said(".out"), self._said(".err")

    def _said(self, end: str) -> str:
        path = self._path.with_suffix(end)
        return path.read_text() if path.exists() else ""


class Script(Process):
    """An interpreter of its own, for what happens when one ends."""

    def _start(self, arguments: list[str]) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    @property
    def is_over(self) -> bool:
        """Say whether it has ended."""
        return self._popen.poll() is not None

    @property
    def pid(self) -> int:
        """Return its number."""
        return self._popen.pid

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._popen.send_signal(number)

    def end(self, seconds: float = 30.0) -> tuple[int, str, str]:
        """Wait for its end; return its status and what it printed."""
        with contextlib.suppress(ValueError):  # What it printed was read before.
            self._printed = self._popen.communicate(timeout=seconds)
        return self._popen.returncode, *self._printed


def live(arguments: list[str]) -> None:
    """Be the script, in a process that was forked; print into files beside it."""
    path = Path(arguments[0])
    for number, end in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(path.with_suffix(end), os.O_WRONLY | os.O_CREAT), number)
    sys.argv = arguments
    runpy.run_path(str(path), run_name="__main__")


@contextlib.contextmanager
def process(
    folder: Path, code: str, *arguments: str, kind: Callable[..., Process] = Fork
) -> Iterator[Process]:
    """Run *code* in a process of its own, which is gone when the block ends."""
    running = kind(folder, code, *arguments)
    try:
        yield running
    finally:
        running.kill()


async def pause(node: Process) -> None:
    """Stop it while the write turn is ours: with the turn its own, it would keep every other node out."""
    connection = apsw.Connection(str(node.folder / "home.db"))
    connection.set_busy_timeout(10_000)
    connection.execute("BEGIN IMMEDIATE")
    node.send(signal.SIGSTOP)
    await eventually(lambda: node.is_stopped)
    connection.execute("COMMIT")
    connection.close()
