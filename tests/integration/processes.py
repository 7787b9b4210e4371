"""Nodes in processes of their own, to be killed, paused and asked to stop."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

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


class Process:
    """A Python process that runs a node."""

    def __init__(self, folder: Path, code: str, *arguments: str) -> None:
        self.folder = folder
        source = PREFACE + textwrap.dedent(code)
        # In a file, so that its classes have a module whose names can be resolved.
        path = folder / f"node-{len(list(folder.glob('node-*.py')))}.py"
        path.write_text(source)
        self._popen = subprocess.Popen(
            [sys.executable, str(path), str(folder), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    @property
    def is_over(self) -> bool:
        """Say whether it has ended."""
        return self._popen.poll() is not None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._popen.send_signal(number)

    def marked(self, name: str) -> bool:
        """Say whether it has set the mark; fail if it ended without."""
        if (self.folder / name).exists():
            return True
        assert not self.is_over, f"it ended before {name}: {self._popen.communicate()}"
        return False

    def end(self, seconds: float = 30.0) -> tuple[int, str, str]:
        """Wait for its end; return its status and what it printed."""
        out, err = self._popen.communicate(timeout=seconds)
        return self._popen.returncode, out, err

    def kill(self) -> None:
        """Kill it, if it still runs, and reap it."""
        if not self.is_over:
            self._popen.send_signal(signal.SIGCONT)
            self._popen.kill()
        with contextlib.suppress(ValueError):
            self._popen.communicate()


@contextlib.contextmanager
def process(folder: Path, code: str, *arguments: str) -> Iterator[Process]:
    """Run *code* in a process of its own, which is gone when the block ends."""
    running = Process(folder, code, *arguments)
    try:
        yield running
    finally:
        running.kill()
