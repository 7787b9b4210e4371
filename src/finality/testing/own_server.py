"""A server for a test: started on a port of its own, killed at will, gone afterwards with its children."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from finality.testing.server_process import (
    PORTS,
    PORTS_TRIED_MAX,
    START_SECONDS_MAX,
    STOP_SECONDS_MAX,
    UNPRIVILEGED,
    ServerFailed,
    dismiss,
    guard,
    is_root,
    run,
    run_unprivileged,
    wait,
)


class OwnServer(ABC):
    """What servers have in common that are one program.

    A subclass says what to run (``command``), what its log says when it answers (``ready``), how long that
    may take, and whether it refuses to be root.

    Attributes:
        port: Where it listens; the same after a restart.
        folder: What it owns: data and log.
    """

    kind: str
    ready: str
    start_seconds_max = START_SECONDS_MAX
    refuses_root = False

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"finality-{self.kind}-"))
        self.port = 0
        self._server: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        if self.refuses_root and is_root():
            shutil.chown(self.folder, UNPRIVILEGED)

    @abstractmethod
    def command(self, port: int) -> Sequence[Path | str]:
        """Return what runs it on *port*, with its data in ``folder``."""

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert self._server is None, "the server runs already"
        for _ in range(1 if self.port else PORTS_TRIED_MAX):
            port = self.port or random.choice(PORTS)
            if self._started(port):
                self.port = port
                return
        raise ServerFailed(f"the {self.kind} server did not start: {self.log()[-2_000:]}")

    def kill(self) -> None:
        """Kill it with SIGKILL, as the kernel does when memory runs out."""
        self.stop(how=signal.SIGKILL)

    def stop(self, *, how: signal.Signals = signal.SIGTERM) -> None:
        """Shut it down."""
        if self._server is None:
            return
        server, self._server = self._server, None
        if how is not signal.SIGKILL:
            server.send_signal(how)
            with contextlib.suppress(subprocess.TimeoutExpired):  # It is killed, then.
                server.wait(STOP_SECONDS_MAX)
        self._kill_what_is_left(server)
        server.wait()
        dismiss(self._guard)

    def restart(self) -> None:
        """Stop it, if it runs, and start it again, on the same port and data."""
        self.stop()
        self.start()

    def log(self) -> str:
        """Return what the server has logged."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()  # Nobody will read its data again.
        shutil.rmtree(self.folder, ignore_errors=True)

    def _started(self, port: int) -> bool:
        before = len(self.log())
        with (self.folder / "log").open("ab") as log:
            server = self._process(self.command(port), log)
        self._server = server
        self._guard = guard(-server.pid, self.folder)  # The group that it leads.
        wait(lambda: server.poll() is not None or self._is_ready(before), self.start_seconds_max)
        if server.poll() is None and self._is_ready(before):
            return True
        self.kill()
        return False

    def _process(self, command: Sequence[Path | str], log: Any) -> subprocess.Popen[bytes]:
        return run_unprivileged(command, log) if self.refuses_root else run(command, log)

    def _is_ready(self, before: int) -> bool:
        return self.ready in self.log()[before:]

    def _kill_what_is_left(self, server: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(ProcessLookupError):  # Nothing is.
            os.killpg(server.pid, signal.SIGKILL)
