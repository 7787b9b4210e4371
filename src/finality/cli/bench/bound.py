"""The bound: the same records through a bare group-commit writer, with no engine above it.

One thread takes what waits, writes it with the statements and the schema of the product and
commits as the product does; each client waits until its record is durable before it writes the next.
What the product does more is the engine: deciding, folding, running steps, telling who waits.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from finality.adapters.engine import Busy
from finality.adapters.group_commit import BUSY_WAIT_SECONDS
from finality.adapters.sqlite.connection import connect
from finality.adapters.sqlite.engine import SqliteEngine
from finality.adapters.sqlite.queries import QUERIES
from finality.adapters.sqlite.schema import HOME, STORE, migrate, migrations
from finality.adapters.sqlite.transaction import SqliteTransaction
from finality.adapters.system.environment import SystemEnvironment
from finality.cli.bench.workload import Run
from finality.core.ids import uuid7

STARTED = (
    b'{"saga":"ThreeSteps","version":"00000000","input":"{\\"number\\":1}","deadline":null,"parent":null}'
)
DONE = b'{"step":"second","result":"2","attempt":1}'
REFUSED = b'{"step":"second","attempt":1,"because":"the bench says no"}'
UNDO = b'{"because":"the bench says no","reason":"refused","step":"second","by":null}'
COMPENSATED = b'{"step":"first","attempt":1}'

Record = tuple[str, bytes]
RECORDS: dict[str, tuple[tuple[Record, ...], ...]] = {
    "success": (
        (("saga.StepDone", DONE),),
        (("saga.StepDone", DONE),),
        (("saga.StepDone", DONE), ("saga.Completed", b"{}")),
    ),
    "compensation": (
        (("saga.StepDone", DONE),),
        (("saga.StepRefused", REFUSED), ("saga.UndoStarted", UNDO)),
        (("saga.CompensationDone", COMPENSATED), ("saga.Compensated", b"{}")),
    ),
}

# What the head says from then on; behind any other record it stays as it is.
STATUS = {
    "saga.Completed": "completed", "saga.UndoStarted": "compensating", "saga.Compensated": "compensated",
}  # fmt: skip

BATCH_MAX = 1_000


class BareWriter:
    """A thread that writes what waits and commits it together."""

    def __init__(self, path: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connect(path)
        migrate(self._connection, migrations(STORE, HOME))
        environment = SystemEnvironment()
        transaction = SqliteTransaction(self._connection, environment)
        self._engine = SqliteEngine(self._connection, transaction, path, environment)
        self._sql = self._connection.cursor().execute  # As the product does.
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def write(self, item: tuple[Any, ...]) -> asyncio.Future[int]:
        """Return what resolves, with the stream's key, once *item* is durable."""
        future: asyncio.Future[int] = self._loop.create_future()
        self._queue.put((future, item))
        return future

    async def close(self) -> None:
        """Stop the thread."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._connection.close()

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch = [self._queue.get()]
            self._begin()  # While a writer in another process has the turn, more gather.
            try:
                while len(batch) < BATCH_MAX:
                    batch.append(self._queue.get_nowait())
            except Empty:
                pass
            if batch[-1] is None:
                is_open = False
                batch.pop()
            if batch:
                self._commit(batch)
            else:
                self._engine.abort()

    def _commit(self, batch: list[Any]) -> None:
        sql = self._sql
        answers = []
        now = time.time()
        for future, (key, version, records, is_end) in batch:
            if version == 0:
                sql(QUERIES["create"], (key, 1, 1, "running", 1, None, 1, None, now))
                stream = self._connection.last_insert_rowid()
            else:
                stream = key
                status = STATUS.get(records[-1][0])
                if status is not None:
                    is_open = None if is_end else 1
                    sql(QUERIES["renew_head"], (version + len(records), status, is_open, None, stream))
            for place, (type_name, data) in enumerate(records, version + 1):
                sql(QUERIES["insert_event"], (stream, place, type_name, data, now, 1))
            answers.append((future, stream))
        self._engine.commit()
        self._loop.call_soon_threadsafe(_answer, answers)
        self._engine.keep_house()

    def _begin(self) -> None:
        while True:
            try:
                return self._engine.begin()
            except Busy:
                self._engine.wait(BUSY_WAIT_SECONDS)


def _answer(answers: list[tuple[asyncio.Future[int], int]]) -> None:
    for future, stream in answers:
        future.set_result(stream)


class Bare(Protocol):
    """What writes records in groups, and nothing else."""

    def write(self, item: tuple[Any, ...]) -> asyncio.Future[int]:
        """Return what resolves, with the stream's key, once *item* is durable."""
        ...

    async def close(self) -> None:
        """Stop."""
        ...


async def measure_bound(writer: Bare, variant: str, *, concurrency: int, seconds: float) -> Run:
    """Write the records of as many sagas as fit, *concurrency* at a time."""
    latencies: list[float] = []
    clock = time.perf_counter
    stop = clock() + seconds
    chance = random.getrandbits(72)  # Writers in several processes want names of their own.

    async def client() -> None:
        nonlocal chance
        while clock() < stop:
            begun = clock()
            chance += 1
            name = f"transaction/{uuid7(int(time.time() * 1000), chance)}"
            key = await writer.write((name, 0, (("saga.Started", STARTED),), False))
            version = 1
            for records in RECORDS[variant]:
                is_end = records is RECORDS[variant][-1]
                await writer.write((key, version, records, is_end))
                version += len(records)
            latencies.append(clock() - begun)

    begun, cpu = clock(), time.process_time()
    await asyncio.gather(*(client() for _ in range(concurrency)))
    elapsed, cpu = clock() - begun, time.process_time() - cpu
    await writer.close()
    return Run(len(latencies), elapsed, cpu, sorted(latencies))
