"""The bound on PostgreSQL: the same records, group-committed through bare asyncpg, with no engine above it.

Two connections take what waits in turn, so that one batch gathers while the other is in the disk's hands.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg

from finality.adapters.named_statements import named_statements
from finality.adapters.postgres.schema import migrate
from finality.cli.bench.bound import BATCH_MAX, STATUS

CONNECTIONS = 2
SCHEMA = "finality_bound"
QUERIES = named_statements("finality.cli.bench", "bound_postgres.sql")


async def make_schema(url: str) -> None:
    """Make an empty schema beside the product's."""
    connection = await asyncpg.connect(url, server_settings={"search_path": SCHEMA})
    await connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}")
    await migrate(connection, is_home=True)
    await connection.close()


async def remove_schema(url: str) -> None:
    """Leave nothing of it."""
    connection = await asyncpg.connect(url)
    await connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    await connection.close()


class BarePostgres:
    """Connections that write what waits and commit it together."""

    def __init__(self, connections: list[Any], number: int) -> None:
        self._connections = connections
        self._waiting: list[tuple[asyncio.Future[int], tuple[Any, ...]]] = []
        self._has_some = asyncio.Event()
        self._key = number << 40  # Writers in several processes share the schema.
        self._tasks = [asyncio.ensure_future(self._run(connection)) for connection in connections]

    @classmethod
    async def open(cls, url: str, number: int) -> BarePostgres:
        """Connect to the schema that was made for this."""
        settings = {"search_path": SCHEMA}
        connections = [await asyncpg.connect(url, server_settings=settings) for _ in range(CONNECTIONS)]
        return cls(connections, number)

    def write(self, item: tuple[Any, ...]) -> asyncio.Future[int]:
        """Return what resolves, with the stream's key, once *item* is durable."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((future, item))
        self._has_some.set()
        return future

    async def close(self) -> None:
        """Stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self._connections:
            await connection.close()

    async def _run(self, connection: Any) -> None:
        while True:
            await self._has_some.wait()
            batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
            if not self._waiting:
                self._has_some.clear()
            if batch:
                await self._commit(connection, batch)

    async def _commit(self, connection: Any, batch: list[Any]) -> None:
        born, renewed, events, answers, now = [], [], [], [], time.time()
        for future, (key, version, records, is_end) in batch:
            if version == 0:
                self._key += 1
                stream, name = self._key, key
                born.append((stream, name, 1, 1, "running", True, None, 1, None, now))
            else:
                stream = key
                status = STATUS.get(records[-1][0])
                if status is not None:
                    is_open = None if is_end else True
                    renewed.append((stream, version + len(records), status, is_open, None))
            for place, (type_name, data) in enumerate(records, version + 1):
                events.append((stream, place, type_name, data, now))
            answers.append((future, stream))
        async with connection.transaction():
            for query, rows, more in (
                ("create", born, ()),
                ("renew_heads", sorted(renewed), (len(renewed),)),
                ("insert_events", events, (1,)),
            ):
                if rows:
                    await connection.fetch(QUERIES[query], *map(list, zip(*rows, strict=True)), *more)
        for future, stream in answers:
            future.set_result(stream)
