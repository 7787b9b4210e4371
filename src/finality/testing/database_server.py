"""A database server for a test: its folder is made before its first start, its databases at will."""

from __future__ import annotations

import subprocess
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from finality.testing.own_server import OwnServer
from finality.testing.server_process import START_SECONDS_MAX, ServerFailed


class DatabaseServer(OwnServer):
    """What PostgreSQL and MariaDB have in common as servers that belong to a test.

    A subclass says what makes its folder (``creation``), where its databases are (``url_of``), what runs
    statements there (``client``) and how a database takes the place of another.

    Attributes:
        port: Where it listens; the same after a restart.
        folder: What it owns: data, log, perhaps a copy of its binaries.
    """

    refuses_root = True
    own_database: str
    replacing: Sequence[str]
    create_seconds_max = START_SECONDS_MAX

    def __init__(self, settings: Mapping[str, str]) -> None:
        super().__init__()
        self._settings = settings
        self._databases = 0

    @abstractmethod
    def creation(self) -> Sequence[Path | str]:
        """Return what makes its data folder."""

    @abstractmethod
    def client(self, statements: Sequence[str], database: str) -> Sequence[Path | str]:
        """Return what runs statements in *database* and prints their rows, with tabs between columns."""

    @abstractmethod
    def url_of(self, database: str) -> str:
        """Return where a database of this server is."""

    @property
    def url(self) -> str:
        """Return where the server's own database is."""
        return self.url_of(self.own_database)

    def database(self, name: str | None = None) -> str:
        """Create an empty database, in place of one of that name, and return its URL."""
        self._databases += 1
        name = name or f"test_{self._databases}"
        self.sql(*(statement.format(name) for statement in self.replacing))
        return self.url_of(name)

    def sql(self, *statements: str, database: str | None = None) -> list[list[str]]:
        """Run statements through the command line's client; return the rows as text."""
        ended = subprocess.run(  # noqa: S603  # the program is the installation's own
            self.client(statements, database or self.own_database),
            capture_output=True, text=True, timeout=START_SECONDS_MAX,
        )  # fmt: skip
        if ended.returncode:
            raise ServerFailed(f"the {self.kind} client failed: {ended.stderr.strip()}")
        return [line.split("\t") for line in ended.stdout.splitlines()]

    def start(self) -> None:
        """Start it, and wait until it answers; the first time, create it."""
        if not (self.folder / "data").exists():
            self._create()
        super().start()

    def _create(self) -> None:
        creating = self._process(self.creation(), subprocess.PIPE)
        out, problem = creating.communicate(timeout=self.create_seconds_max)
        if creating.returncode:
            said = (out + problem).decode(errors="replace").strip()
            raise ServerFailed(f"the {self.kind} server could not be created: {said}")
