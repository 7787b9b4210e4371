"""A SQLite file with a user's tables, participants on it, and a client of no kin to look from outside."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import finality
from finality.adapters.sqlite.branch import SqliteBranch
from finality.adapters.sqlite.participant import SqliteParticipant
from finality.adapters.sqlite.tables import quoted
from finality.adapters.system.environment import SystemEnvironment
from finality.core.ids import TransactionId
from finality.core.two_phase import Decision, Vote
from finality.ports.environment import Environment
from finality.ports.participant import BranchId
from tests.integration.foreign import client

T = TypeVar("T")

Dump = dict[str, list[tuple[Any, ...]]]


class Bank:
    """A file with tables."""

    def __init__(self, path: Path, *schema: str) -> None:
        self.path = path
        self.sql(*schema)

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements as a foreign program does, each a transaction; return the last rows."""
        rows: list[tuple[Any, ...]] = []
        with client(self.path) as connection:
            for statement in statements:
                rows = connection.execute(statement)
        return rows

    def dump(self) -> Dump:
        """Return what all tables of the user's hold."""
        names = self.sql(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB 'finality_*' "
            "AND name NOT GLOB 'sqlite_stat*' ORDER BY name"
        )
        dump = {name: sorted(self.sql(f"SELECT * FROM {quoted(name)}"), key=repr) for (name,) in names}
        # Our outbox counts there, too; and the table stays when the last that counts is gone.
        counts = [row for row in dump.pop("sqlite_sequence", []) if not row[0].startswith("finality_")]
        return {**dump, "sqlite_sequence": counts} if counts else dump

    @contextlib.asynccontextmanager
    async def opened(
        self, name: str = "bank", environment: Environment | None = None
    ) -> AsyncIterator[SqliteParticipant]:
        """Give one more participant, opened."""
        participant = finality.sqlite(self.path, name=name)
        await participant.open(environment or SystemEnvironment())
        try:
            yield participant
        finally:
            await participant.close()


def id_of(transaction: str, *, number: int = 0) -> BranchId:
    """Return a branch's id."""
    return BranchId("h0me", TransactionId(transaction), "bank", number)


async def worked(participant: SqliteParticipant, id: str, *statements: str) -> SqliteBranch:
    """Return a branch under way that has run *statements*."""
    branch = await participant.begin(id_of(id))
    for statement in statements:
        await branch.execute(statement)
    return branch


async def prepared(participant: SqliteParticipant, id: str, *statements: str) -> None:
    """Leave a branch in doubt."""
    assert await (await worked(participant, id, *statements)).prepare() is Vote.YES


async def committed(participant: SqliteParticipant, id: str, *statements: str) -> None:
    """Commit in two phases."""
    await prepared(participant, id, *statements)
    assert await participant.finish(id_of(id), Decision.COMMIT) is Decision.COMMIT


def run(story: Coroutine[Any, Any, T]) -> T:
    """Run a story to its end, which comes soon."""

    async def bounded() -> T:
        async with asyncio.timeout(60):
            return await story

    return asyncio.run(bounded())
