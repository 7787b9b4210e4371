"""A private MariaDB server for tests: killed at will, gone afterwards.

```python
with finality.testing.mariadb() as server:
    rows = server.sql("SELECT version()")
```

It runs the system's own ``mariadbd`` on a loopback port of its own. As root it drops its privileges.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

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
    kill,
    run_unprivileged,
    wait,
)

FOLDERS = "/usr/sbin:/usr/local/sbin:/usr/libexec"  # Where servers are, beside the PATH.
USER = "root"
CREATE_SECONDS_MAX = 90.0  # It takes three, and many times that where others keep the disk busy.
INSTALL = "apt-get install --no-install-recommends mariadb-server-core mariadb-client-core"

SETTINGS: Mapping[str, str] = {
    "bind-address": "127.0.0.1",
    "skip-name-resolve": "1",
    "max-connections": "200",
    "innodb-buffer-pool-size": "32M",
    "innodb-log-file-size": "8M",
    "innodb-flush-method": "nosync",
}
"""What a test wants. Without syncing, a server that is killed loses nothing; a computer that is, does."""


def mariadb(*, settings: Mapping[str, str] | None = None) -> MariaDbServer:
    """Return a MariaDB server of one's own, as a context manager: it runs inside the block.

    Args:
        settings: Options of ``mariadbd`` beyond ``SETTINGS``, as ``{"innodb-flush-method": "fsync"}``.
    """
    return MariaDbServer({**SETTINGS, **(settings or {})})


def has_mariadb() -> bool:
    """Say whether this machine has a MariaDB server to start."""
    return _program("mariadbd") is not None


class MariaDbServer:
    """A server that belongs to a test.

    Attributes:
        port: Where it listens; the same after a restart.
        folder: What it owns: data, socket and log.
    """

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="finality-mariadb-"))
        self.port = 0
        self._settings = settings
        self._databases = 0
        self._server: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return where the server's own database is."""
        return self.url_of("mysql")

    def url_of(self, database: str) -> str:
        """Return where a database of this server is."""
        return f"mariadb://{USER}@127.0.0.1:{self.port}/{database}"

    def database(self, name: str | None = None) -> str:
        """Create an empty database, in place of one of that name, and return its URL."""
        self._databases += 1
        name = name or f"test_{self._databases}"
        self.sql(f"DROP DATABASE IF EXISTS `{name}`", f"CREATE DATABASE `{name}`")
        return self.url_of(name)

    def sql(self, *statements: str, database: str = "mysql") -> list[list[str]]:
        """Run statements through the command line's client; return the rows as text."""
        ended = subprocess.run(  # noqa: S603  # the program is the installation's own
            [_needed("mariadb"), "--no-defaults", "-NB", "-h127.0.0.1", f"-P{self.port}", f"-u{USER}",
             database],
            input=";\n".join(statements), capture_output=True, text=True, timeout=START_SECONDS_MAX,
        )  # fmt: skip
        if ended.returncode:
            raise ServerFailed(f"mariadb failed: {ended.stderr.strip()}")
        return [line.split("\t") for line in ended.stdout.splitlines()]

    def start(self) -> None:
        """Start it, and wait until it answers; the first time, create it."""
        assert self._server is None, "the server runs already"
        if not (self.folder / "data").exists():
            self._create()
        for _ in range(1 if self.port else PORTS_TRIED_MAX):
            port = self.port or random.choice(PORTS)
            if self._started(port):
                self.port = port
                return
        raise ServerFailed(f"the MariaDB server did not start: {self.log()[-2_000:]}")

    def kill(self) -> None:
        """Kill the server with SIGKILL, as the kernel does when memory runs out."""
        self.stop(how=signal.SIGKILL)

    def stop(self, *, how: signal.Signals = signal.SIGTERM) -> None:
        """Shut it down."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.send_signal(how)
        try:
            server.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            kill(server.pid)
            server.wait()
        dismiss(self._guard)

    def restart(self) -> None:
        """Stop it, if it runs, and start it again, on the same port."""
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

    def _create(self) -> None:
        if is_root():
            shutil.chown(self.folder, UNPRIVILEGED)
        ended = run_unprivileged(
            [
                _needed("mariadb-install-db"), "--no-defaults", f"--datadir={self.folder / 'data'}",
                "--auth-root-authentication-method=normal", "--skip-test-db", *self._options(),
            ],
            subprocess.PIPE,
        )  # fmt: skip
        out, problem = ended.communicate(timeout=CREATE_SECONDS_MAX)
        if ended.returncode:
            raise ServerFailed(
                f"mariadb-install-db failed: {(out + problem).decode(errors='replace').strip()}"
            )

    def _options(self) -> list[str]:
        # A server that starts removes every temporary table in its folder, those of others, too.
        own = {"tmpdir": str(self.folder), **self._settings}
        return [f"--{name}={value}" for name, value in own.items()]

    def _started(self, port: int) -> bool:
        before = len(self.log())
        options = (
            f"--datadir={self.folder / 'data'}",
            f"--port={port}",
            f"--socket={self.folder / 'socket'}",
        )
        with (self.folder / "log").open("ab") as log:
            command = [_needed("mariadbd"), "--no-defaults", *options, *self._options()]
            server = run_unprivileged(command, log)
        self._server = server
        self._guard = guard(server.pid, self.folder)
        wait(lambda: server.poll() is not None or self._is_ready(before), START_SECONDS_MAX)
        if server.poll() is None and self._is_ready(before):
            return True
        self.kill()
        return False

    def _is_ready(self, before: int) -> bool:
        return "ready for connections" in self.log()[before:]


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{FOLDERS}")


def _needed(name: str) -> str:
    found = _program(name)
    if found is None:
        raise ServerFailed(f"no MariaDB to start: there is no program {name} here; install it: {INSTALL}")
    return found
