"""Databases of a PostgreSQL server, made for the comparison and dropped after it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

import finality

LEFT_PREPARED = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"


class Server:
    """Fulfils ``Place``.

    Args:
        url: Of any database of the server, for somebody who may create databases.
        prefix: What the names of its databases begin with.
        folder: Where the broker is, a file: the server is none.
    """

    silent = frozenset({"bank", "provider"})

    def __init__(self, url: str, prefix: str, folder: Path) -> None:
        self.spec = f"{url} {prefix} {folder}"
        self.broker = f"sqlite:///{folder / prefix}.db"
        self._server = url
        self._prefix = prefix
        self._connections: dict[str, Any] = {}
        self._turn = asyncio.Lock()  # A connection does one thing at a time.

    def url(self, name: str) -> str:
        """Return the URL of a database."""
        return urlunsplit(urlsplit(self._server)._replace(path=f"/{self._database(name)}"))

    def participant(self, name: str) -> Any:
        """Return a database as a participant."""
        return finality.postgres(self.url(name), name=name)

    def _database(self, name: str) -> str:
        return f"{self._prefix}_{name}"

    async def make(self, name: str) -> None:
        """Make a database."""
        await self._ask_server(f'CREATE DATABASE "{self._database(name)}"')
        self._connections[name] = await asyncpg.connect(self.url(name))

    async def _ask_server(self, sql: str) -> None:
        connection = await asyncpg.connect(self._server)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    async def execute(self, name: str, sql: str) -> Sequence[tuple[Any, ...]]:
        """Run a statement."""
        async with self._turn:
            return [tuple(row) for row in await self._connections[name].fetch(sql)]

    async def tables(self, name: str) -> set[str]:
        """Return the tables of a database."""
        return {table for (table,) in await self.execute(name, "SELECT tablename FROM pg_tables")}

    async def close(self) -> None:
        """Drop the databases, with whatever a killed coordinator has left prepared in them."""
        for name, connection in self._connections.items():
            for (gid,) in await self.execute(name, LEFT_PREPARED):
                await connection.execute(f"ROLLBACK PREPARED '{gid}'")
            await connection.close()
            await self._ask_server(f'DROP DATABASE "{self._database(name)}" WITH (FORCE)')
