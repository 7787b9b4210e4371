"""A private MariaDB server for tests: killed at will, gone afterwards.

```python
with finality.testing.mariadb() as server:
    rows = server.sql("SELECT version()")
```

It runs the system's own ``mariadbd`` on a loopback port of its own. As root it drops its privileges.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from finality.testing.database_server import DatabaseServer
from finality.testing.server_process import ServerFailed

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


class MariaDbServer(DatabaseServer):
    """A server that belongs to a test."""

    kind = "mariadb"
    ready = "ready for connections"
    own_database = "mysql"
    replacing = ("DROP DATABASE IF EXISTS `{0}`", "CREATE DATABASE `{0}`")
    create_seconds_max = CREATE_SECONDS_MAX

    def url_of(self, database: str) -> str:
        """Return where a database of this server is."""
        return f"mariadb://{USER}@127.0.0.1:{self.port}/{database}"

    def client(self, statements: Sequence[str], database: str) -> Sequence[Path | str]:
        """Return the command line's client."""
        where = ("-h127.0.0.1", f"-P{self.port}", f"-u{USER}", f"-D{database}")
        return [_needed("mariadb"), "--no-defaults", "-NB", *where, "-e", ";\n".join(statements)]

    def creation(self) -> Sequence[Path | str]:
        """Return what makes its system tables."""
        return [
            _needed("mariadb-install-db"), "--no-defaults", f"--datadir={self.folder / 'data'}",
            "--auth-root-authentication-method=normal", "--skip-test-db", *self._options(),
        ]  # fmt: skip

    def command(self, port: int) -> Sequence[Path | str]:
        """Return what runs it; each setting is an option."""
        return [
            _needed("mariadbd"), "--no-defaults", f"--datadir={self.folder / 'data'}", f"--port={port}",
            f"--socket={self.folder / 'socket'}", *self._options(),
        ]  # fmt: skip

    def _options(self) -> list[str]:
        # A server that starts removes every temporary table in its folder, those of others, too.
        own = {"tmpdir": str(self.folder), **self._settings}
        return [f"--{name}={value}" for name, value in own.items()]


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{FOLDERS}")


def _needed(name: str) -> str:
    found = _program(name)
    if found is None:
        raise ServerFailed(f"no MariaDB to start: there is no program {name} here; install it: {INSTALL}")
    return found
