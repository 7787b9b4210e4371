"""Where the databases of one way are: a folder of SQLite files, or databases of a PostgreSQL server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import finality
from finality.adapters.sqlite.connection import connect
from finality.adapters.sqlite.work import Held, give_back_turn, take_turn

WITNESSES = ("finality_witness", "finality_branch")


class Place(Protocol):
    """Databases by name: ``home``, ``bank`` and ``provider``.

    Attributes:
        spec: Names the same place to another process, for ``place_at``.
        broker: The URL of a broker of this place alone.
        silent: Participants that pass no crash point at their own commits.
    """

    spec: str
    broker: str
    silent: frozenset[str]

    def url(self, name: str) -> str:
        """Return the URL of a database, as a store."""
        ...

    def participant(self, name: str) -> Any:
        """Return a database as a participant of two-phase commit."""
        ...

    async def make(self, name: str) -> None:
        """Make an empty database."""
        ...

    async def execute(self, name: str, sql: str) -> Sequence[tuple[Any, ...]]:
        """Run a statement in a database, past all nodes."""
        ...

    async def tables(self, name: str) -> set[str]:
        """Return the tables of a database."""
        ...

    async def close(self) -> None:
        """Let go of the databases."""
        ...


class Files:
    """Fulfils ``Place`` with SQLite files; whoever owns the folder removes it."""

    silent: frozenset[str] = frozenset()

    def __init__(self, folder: Path) -> None:
        self.spec = str(folder)
        self.broker = f"sqlite:///{folder / 'broker.db'}"
        self._folder = folder
        self._connections: dict[str, Any] = {}

    def url(self, name: str) -> str:
        """Return the URL of a file."""
        return f"sqlite:///{self._path(name)}"

    def participant(self, name: str) -> Any:
        """Return a file as a participant."""
        return finality.sqlite(self._path(name), name=name)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.db"

    async def make(self, name: str) -> None:
        """Make a file."""
        self._folder.mkdir(exist_ok=True)
        self._connections[name] = connect(self._path(name))

    async def execute(self, name: str, sql: str) -> Sequence[tuple[Any, ...]]:
        """Run a statement: with microseconds a call, it needs no thread."""
        return self.execute_now(name, sql)

    def execute_now(self, name: str, sql: str) -> Sequence[tuple[Any, ...]]:
        """Run a statement, for who cannot wait."""
        rows: list[tuple[Any, ...]] = self._connections[name].execute(sql).fetchall()
        return rows

    async def tables(self, name: str) -> set[str]:
        """Return the tables of a file."""
        return {table for (table,) in await self.execute(name, "SELECT name FROM sqlite_master")}

    async def close(self) -> None:
        """Close the files."""
        for connection in self._connections.values():
            connection.close()


def is_held(url: str) -> bool:
    """Say whether somebody writes to a SQLite file just now; nobody holds what is no file."""
    if not url.startswith("sqlite:///"):
        return False
    connection = connect(Path(url.removeprefix("sqlite:///")))
    connection.set_busy_timeout(0)
    try:
        take_turn(connection)
        give_back_turn(connection)
    except Held:
        return True
    finally:
        connection.close()
    return False


def place_at(spec: str) -> Place:
    """Return the place that another process has named; it makes and reads nothing there."""
    if spec.startswith("postgres"):
        from finality.cli.compare.place_postgres import Server

        url, prefix, folder = spec.split(" ", 2)
        return Server(url, prefix, Path(folder))
    return Files(Path(spec))
