"""A PostgreSQL database as a node's home: any number of nodes write to it at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from typing import Any

from finality.adapters.follow import follow
from finality.adapters.histories import histories
from finality.adapters.postgres.cursor import Place
from finality.adapters.postgres.home_transaction import PostgresHomeTransaction
from finality.adapters.postgres.line import Line
from finality.adapters.postgres.queries import QUERIES
from finality.adapters.postgres.rows import head_of, node_of, recorded_of
from finality.adapters.postgres.schema import migrate
from finality.adapters.postgres.session import Server
from finality.adapters.postgres.sources import PostgresCommittedSources
from finality.adapters.postgres.store import LOCK_SECONDS_MAX, PostgresStore
from finality.adapters.postgres.transaction import PostgresTransaction
from finality.adapters.written import WrittenHome
from finality.core.errors import NotFound
from finality.core.ids import (
    START,
    Cursor,
    NodeId,
    Position,
    StreamName,
    TransactionId,
    Version,
    transaction_stream,
)
from finality.core.protocol import Recorded
from finality.core.secret import without_password
from finality.ports.codec import Codec
from finality.ports.environment import Environment
from finality.ports.home import HEADS_MAX, Head, History, NodeRow
from finality.ports.journal import PAGE_EVENTS_MAX, Page

NODES_MAX = 1_000  # Of the newest nodes; older ones stay in the table for the audit trail.
POSITION_MAX = (1 << 63) - 1


class PostgresHome(PostgresStore, WrittenHome):
    """Fulfils ``ports.home.Home``."""

    _is_home = True

    def __init__(self, url: str, environment: Environment, codec: Codec, *, name: str | None = None) -> None:
        self._codec = codec
        self.sources = PostgresCommittedSources(self._rows, self._recorded, self._placed)
        super().__init__(url, environment, name=name)

    def _transaction(self, line: Line) -> PostgresTransaction:
        return PostgresHomeTransaction(line, self._environment, self._codec)

    # ── The journal ─────────────────────────────────────────────────────────────────────────

    async def read(
        self, stream: StreamName, *, after: Version = Version(0), limit: int = PAGE_EVENTS_MAX
    ) -> list[Recorded]:
        """Return the events of *stream* behind *after*."""
        found = await self._rows(QUERIES["find_stream"], stream)
        return await self._recorded("read", found[0][0], after, limit) if found else []

    async def page(self, *, after: Cursor = START, limit: int = PAGE_EVENTS_MAX) -> Page:
        """Return events of all streams behind *after*; what a snapshot shows and an earlier one did not."""
        place = await self._placed(after)
        events = await self._recorded(*place.asked("page", limit))
        return Page(events, place.behind([event.position for event in events], limit))

    async def newest(self, *, before: Position | None = None, limit: int = PAGE_EVENTS_MAX) -> Page:
        """Return the last events before a position."""
        shown = await self._snapshot()
        events = await self._recorded("newest", shown, POSITION_MAX if before is None else before, limit)
        return Page(events[::-1], Cursor(str(Place(await self._cluster_id(), seen=shown))))

    def follow(self, *, after: Cursor = START) -> AsyncIterator[Recorded]:
        """Yield every event behind *after*, and then each new one."""
        return follow(self, after)

    async def load(self, key: int, *, after: Version = Version(0)) -> list[Recorded]:
        """Return a transaction's events behind *after*."""
        return await self._recorded("read", key, after, None)

    async def histories(self, keys: Collection[int]) -> dict[int, History]:
        """Return all events of each of these transactions."""
        return histories(await self._rows(QUERIES["histories"], [*keys]), self._codec.decode_event)

    async def _recorded(self, query: str, *parameters: Any) -> list[Recorded]:
        return [recorded_of(row, self._codec) for row in await self._rows(QUERIES[query], *parameters)]

    # ── Heads and nodes ─────────────────────────────────────────────────────────────────────

    async def head(self, key: int) -> Head:
        """Return a transaction's head by key."""
        found = await self._heads("WHERE s.stream = $1", key)
        if not found:
            raise NotFound(f"no transaction has the key {key}")
        return found[0]

    async def heads_of(self, keys: Collection[int]) -> list[Head]:
        """Return the heads of those of *keys* that a transaction has."""
        return await self._heads("WHERE s.stream = ANY ($1::bigint[])", [*keys])

    async def find(self, id: TransactionId) -> Head | None:
        """Return a transaction's head by its id."""
        found = await self._heads("WHERE s.name = $1", transaction_stream(id))
        return found[0] if found else None

    async def begun(self, ids: Collection[TransactionId]) -> set[TransactionId]:
        """Return those of *ids* that have a stream."""
        names = {transaction_stream(id): id for id in ids}
        return {names[row[0]] for row in await self._rows(QUERIES["begun"], [*names])}

    async def heads(
        self,
        *,
        status: str | None = None,
        kind: str | None = None,
        is_open: bool | None = None,
        before: int | None = None,
        limit: int = HEADS_MAX,
    ) -> list[Head]:
        """Return heads, newest first."""
        wanted = {"s.status = $": status, "d.kind = $": kind, "s.stream < $": before}
        given = [(condition, value) for condition, value in wanted.items() if value is not None]
        conditions = [f"{condition}{place}" for place, (condition, _) in enumerate(given, 1)]
        if is_open is not None:
            conditions.append("s.open" if is_open else "s.open IS NULL")
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        end = f"ORDER BY s.stream DESC LIMIT ${len(given) + 1}"
        return await self._heads(f"{where} {end}", *(value for _, value in given), limit)

    async def children(self, key: int) -> list[Head]:
        """Return the heads of the transactions that are steps of this one."""
        return await self._heads("WHERE s.parent = $1 ORDER BY s.stream", key)

    async def _heads(self, where: str, *parameters: Any) -> list[Head]:
        rows = await self._rows(f"{QUERIES['head_columns']} {where}", *parameters)
        return [head_of(row) for row in rows]

    async def next_wake(self, node: NodeId) -> float | None:
        """Return when the node's next transaction wakes."""
        wakes = await self._rows(QUERIES["next_wake"], node)
        return None if wakes[0][0] is None else float(wakes[0][0])

    async def counts(self) -> dict[tuple[str, str], int]:
        """Return how many transactions there are by (kind, status)."""
        return {(kind, status): n for kind, status, n in await self._rows(QUERIES["counts"])}

    async def definition(self, kind: str, definition: str) -> str | None:
        """Return the kept shape of a definition."""
        found = await self._rows(QUERIES["definition"], kind, definition)
        return str(found[0][0]) if found else None

    async def streams(self, prefix: str, *, limit: int = HEADS_MAX) -> list[StreamName]:
        """Return the names of the streams that begin with *prefix*."""
        return [StreamName(row[0]) for row in await self._rows(QUERIES["streams"], prefix, limit)]

    async def nodes(self) -> list[NodeRow]:
        """Return the nodes, newest first."""
        return [node_of(row) for row in await self._rows(QUERIES["nodes"], NODES_MAX)]


async def open_home(
    url: str, environment: Environment, codec: Codec, *, must_exist: bool = False
) -> PostgresHome:
    """Open a database as a home."""
    return await PostgresHome.opened(PostgresHome(url, environment, codec), must_exist=must_exist)


async def migrate_home(url: str, *, through_post: bool) -> list[str]:
    """Bring a database's schema to this version; return the names of the scripts that ran."""
    connection = await Server(url, without_password(url), LOCK_SECONDS_MAX, "store").connect()
    try:
        return await migrate(connection, is_home=True, through_post=through_post)
    finally:
        await connection.close()
