"""The broker in a SQLite file: every process of the machine reaches it."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import pytest

from finality.adapters.sqlite.broker import SqliteBroker
from finality.ports.environment import Environment
from tests.conformance.brokers.worlds import Embedded


class Careless(SqliteBroker):
    """One whose commits are not flushed."""

    async def open(self, environment: Environment) -> None:
        """Open it, and take a promise away."""
        await super().open(environment)
        self._connection.execute("PRAGMA synchronous = NORMAL")


class SqliteWorld(Embedded):
    """Fulfils ``World``."""

    is_shared = is_durable = True
    unsafe: tuple[str, ...] = ("synchronous",)

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def make(cls, request: pytest.FixtureRequest) -> Self:
        """Return one whose file is shared by all tests of the process."""
        factory: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
        return cls(factory.getbasetemp() / "broker.db")

    def broker(self) -> SqliteBroker:
        """Return one more on the file."""
        return SqliteBroker(self._path)

    def code(self) -> str:
        """Return what opens it elsewhere."""
        return f"finality.adapters.sqlite.broker:broker('sqlite:///{self._path}')"

    def misset(self, word: str) -> SqliteBroker:
        """Return one that does not flush."""
        return Careless(self._path)

    def close(self) -> None:
        """Leave the file to the next test."""
