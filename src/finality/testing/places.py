"""Where simulated nodes keep what outlives them: in memory, or in SQLite files on a simulated disk."""

from __future__ import annotations

import contextlib
from pathlib import Path
from threading import Lock
from typing import Protocol

import apsw

from finality.adapters.memory.database import MemoryDatabase
from finality.adapters.memory.store import MemoryHome, MemoryStore
from finality.adapters.sqlite.store import SqliteHome, SqliteStore
from finality.core.errors import Unavailable
from finality.ports.codec import Codec
from finality.ports.environment import Environment
from finality.ports.home import Home
from finality.ports.store import Store


class Mortal(Protocol):
    """What can be dropped as a crash drops it."""

    def abandon(self) -> None:
        """Let go at once: what is not committed is gone."""
        ...


class MortalStore(Store, Mortal, Protocol):
    """A store of a process that may die."""


class MortalHome(Home, Mortal, Protocol):
    """A home of a process that may die."""


class Place(Protocol):
    """A database, with as many stores open on it as there are processes.

    Attributes:
        is_out: Whether it cannot be reached.
    """

    is_out: bool

    def open_home(self, environment: Environment, codec: Codec, name: str) -> MortalHome:
        """Open it as a home."""
        ...

    def open_store(self, environment: Environment, name: str) -> MortalStore:
        """Open it as a store beside the home."""
        ...

    def residue(self) -> list[str]:
        """Return what is left that should be gone once everything has ended."""
        ...


class MemoryPlace(MemoryDatabase):
    """In memory, which is quick. It cannot be reached now and then."""

    def __init__(self) -> None:
        self.is_out = False
        self._lock = Lock()
        super().__init__()

    @property
    def lock(self) -> Lock:
        """Let nobody near while it is out of reach."""
        if self.is_out and self.holder is None:
            raise Unavailable("the store is out of reach: the simulation says so; try again")
        return self._lock

    @lock.setter
    def lock(self, lock: Lock) -> None:
        self._lock = lock

    def open_home(self, environment: Environment, codec: Codec, name: str) -> MortalHome:
        """Open it as a home."""
        return MemoryHome(self, environment, codec, name=name)

    def open_store(self, environment: Environment, name: str) -> MortalStore:
        """Open it as a store beside the home."""
        return MemoryStore(self, environment, name=name)

    def residue(self) -> list[str]:
        """Return open transactions and locks."""
        found = ["a transaction is still open"] if self.holder is not None else []
        found += [f"{resource!r} is still locked by {row}" for resource, row in self.locks.committed.items()]
        return found


class SqlitePlace:
    """A SQLite file, as in production, written in line."""

    def __init__(self, path: Path) -> None:
        self.is_out = False  # A file is there, or its disk fails: see ``SimulatedDisk``.
        self._path = path

    def open_home(self, environment: Environment, codec: Codec, name: str) -> MortalHome:
        """Open it as a home."""
        return _QuietHome(self._path, environment, codec, name=name)

    def open_store(self, environment: Environment, name: str) -> MortalStore:
        """Open it as a store beside the home."""
        return _QuietStore(self._path, environment, name=name)

    def residue(self) -> list[str]:
        """Return open transactions and locks."""
        connection = apsw.Connection(str(self._path))
        try:
            connection.execute("BEGIN IMMEDIATE; ROLLBACK")
            held = connection.execute("SELECT resource FROM finality_lock").fetchall()
        except apsw.BusyError:
            return ["a transaction is still open"]
        except apsw.SQLError:
            return []  # A store beside the home has no locks.
        finally:
            connection.close()
        return [f"{resource!r} is still locked" for (resource,) in held]


class _QuietStore(SqliteStore):
    def abandon(self) -> None:
        """Let go, also of a file whose disk has failed."""
        with contextlib.suppress(apsw.Error):
            super().abandon()


class _QuietHome(SqliteHome):
    def abandon(self) -> None:
        """Let go, also of a file whose disk has failed."""
        with contextlib.suppress(apsw.Error):
            super().abandon()
