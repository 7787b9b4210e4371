"""The adapters that every suite here runs against, and small turns to run on them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from finality.adapters.memory.database import MemoryDatabase
from finality.adapters.memory.store import MemoryHome
from finality.adapters.msgspec.codec import JsonCodec
from finality.adapters.postgres.home import PostgresHome
from finality.adapters.postgres.home import open_home as open_postgres
from finality.adapters.postgres.transaction import PostgresTransaction
from finality.adapters.sqlite.store import SqliteHome
from finality.core.ids import NodeId, StreamName, TransactionId, Version
from finality.core.saga import Summary
from finality.ports.home import Birth, HomeTransaction, NodeRow

T = TypeVar("T")
AnyHome = SqliteHome | MemoryHome | PostgresHome

MEMORY, SQLITE, SQLITE_INLINE, POSTGRES = "memory", "sqlite", "sqlite-inline", "postgres"
KINDS = (MEMORY, SQLITE, SQLITE_INLINE)


@dataclass(frozen=True)
class Noted:
    """An event of no meaning."""

    value: int = 0
    padding: str = ""


def codec() -> JsonCodec:
    """Return a codec that knows the events of these tests."""
    made = JsonCodec()
    made.register(Noted, "test.Noted")
    return made


class CountingEnvironment:
    """A world whose clock stands still until it is set, and that counts crash points."""

    def __init__(self, *, is_threaded: bool) -> None:
        self.is_threaded = is_threaded
        self.time = 1_000.0
        self.reached: Counter[str] = Counter()
        self.crash: Callable[[str], None] = lambda point: None
        self._bits = 0

    def now(self) -> float:
        return self.time

    def chance(self) -> float:
        return 0.5

    def random_bits(self, count: int) -> int:
        self._bits += 1
        return self._bits % (1 << count)

    def reach(self, point: str) -> None:
        self.reached[point] += 1
        self.crash(point)

    def run_blocking(self, work: Callable[[], T]) -> Awaitable[T]:
        return asyncio.to_thread(work)


class World:
    """One database of one adapter, which several stores may have open."""

    def __init__(self, kind: str, folder: Path, url: str = "") -> None:
        self.kind = kind
        self.url = url
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "home.db"
        self.environment = CountingEnvironment(is_threaded=kind in (SQLITE, POSTGRES))
        self._database = MemoryDatabase()
        self._opened: list[AnyHome] = []

    @property
    def is_durable(self) -> bool:
        return self.kind != MEMORY

    def home(self) -> AnyHome:
        """Open one more store on the database; it is closed when ``run`` ends."""
        home: AnyHome
        if self.kind == MEMORY:
            home = MemoryHome(self._database, self.environment, codec())
        elif self.kind == POSTGRES:
            home = PostgresHome(self.url, self.environment, codec())
        else:
            home = SqliteHome(self.path, self.environment, codec())
        self._opened.append(home)
        return home

    async def outbox(self, home: AnyHome) -> list[tuple[Any, ...]]:
        """Return (topic, key, type, payload) of everything in the outbox, oldest first."""
        if isinstance(home, MemoryHome):
            rows = [row for rows in home.database.outbox.values() for row in rows]
            return [row[2:6] for row in sorted(rows)]
        return await home.query("SELECT aggregatetype, aggregateid, type, payload FROM finality_outbox")

    def run(self, main: Callable[[AnyHome], Coroutine[Any, Any, T]]) -> T:
        """Run *main* with a store, and close everything that it opened."""

        async def whole() -> T:
            if self.kind == POSTGRES:
                await (await open_postgres(self.url, self.environment, codec())).close()
            try:
                async with asyncio.timeout(30):
                    return await main(self.home())
            except BaseException:
                while self._opened and not self.environment.is_threaded:
                    crash(self._opened.pop())  # Closing would wait for the scopes that were left open.
                raise
            finally:
                async with asyncio.timeout(30):
                    while self._opened:
                        await self._opened.pop().close()

        return asyncio.run(whole())


def crash(home: AnyHome) -> None:
    """Let go of a store as its process does that dies; only one that writes in line can be alive still."""
    assert not isinstance(home, PostgresHome), "its process has a thread, which dies with it"
    home.abandon()


class Do:
    """A turn made of a function; it counts what the writer does with it."""

    def __init__(self, work: Callable[[HomeTransaction], Any], name: str = "a turn") -> None:
        self.name = name
        self.work = work
        self.result: Any = None
        self.runs = self.forgets = 0
        self.done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def run(self, tx: HomeTransaction) -> None:
        self.runs += 1
        self.result = self.work(tx)

    def forget(self) -> None:
        self.forgets += 1
        self.result = None

    def settle(self, error: BaseException | None) -> None:
        if error is None:
            self.done.set_result(self.result)
        else:
            self.done.set_exception(error)
            self.done.exception()  # Whoever does not ask may not be told by the garbage collector.


async def do(home: AnyHome, work: Callable[[HomeTransaction], Any], name: str = "a turn") -> Any:
    """Run *work* as a turn and return what it returned, once durable."""
    turn = Do(work, name)
    home.submit(turn)
    return await turn.done


async def do_all(home: AnyHome, *works: Callable[[HomeTransaction], Any]) -> list[Any]:
    """Run each of *works* as a turn, queued together; return results and errors."""
    turns = [Do(work, f"turn {place}") for place, work in enumerate(works)]
    for turn in turns:
        home.submit(turn)
    return await asyncio.gather(*(turn.done for turn in turns), return_exceptions=True)


def execute(sql: str, *parameters: Any) -> Callable[[HomeTransaction], Any]:
    """Return work that runs one statement."""
    return lambda tx: tx.execute(placed(tx, sql), parameters)


def placed(tx: object, sql: str) -> str:
    """Return *sql* with the placeholders of the store that it is for."""
    if not isinstance(tx, PostgresTransaction):
        return sql
    first, *rest = sql.split("?")
    return first + "".join(f"${place}{part}" for place, part in enumerate(rest, 1))


def append_to(stream: str, *values: int, expected: int = 0) -> Callable[[HomeTransaction], Any]:
    """Return work that appends to a plain stream."""
    events = [Noted(value) for value in values]
    return lambda tx: tx.append_to(StreamName(stream), events, expected=Version(expected))


RUNNING = Summary("running")
ENDED = Summary("completed", has_ended=True)
N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")
TRIP = frozenset({"Trip@1"})


def node(name: str, *, until: float = 2_000.0, drives: frozenset[str] = TRIP) -> NodeRow:
    """Return a node as it joins."""
    return NodeRow(NodeId(name), "host", 1, drives, 1_000.0, until)


def renew(name: str, *, until: float = 2_000.0) -> Callable[[HomeTransaction], Any]:
    """Return work that renews a node's lease."""
    return lambda tx: tx.renew(node(name, until=until))


def append(
    key: int, version: int, summary: Summary | None = RUNNING, *values: int
) -> Callable[[HomeTransaction], Any]:
    """Return work that appends to a transaction's stream; without a summary its head stays as it is."""
    events = [Noted(value) for value in values or (version + 1,)]
    return lambda tx: tx.append(key, events, expected=Version(version), summary=summary)


async def prepare(home: AnyHome, *nodes: str) -> None:
    """Keep the definition ``Trip@1``, and let nodes join; the last one writes."""

    def work(tx: HomeTransaction) -> None:
        tx.define("Trip", "1", "{}")
        for name in nodes:
            tx.renew(node(name))

    await do(home, work)


async def begin(
    home: AnyHome,
    id: str,
    *,
    driver: str | None = None,
    summary: Summary = RUNNING,
    parent: int | None = None,
    definition: str = "1",
) -> int:
    """Begin a transaction and return its key."""
    birth = Birth(TransactionId(id), "Trip", definition, parent, NodeId(driver) if driver else None)
    key = await do(home, lambda tx: tx.create(birth, [Noted(1)], summary))
    assert isinstance(key, int)
    return key
