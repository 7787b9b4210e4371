"""Whether a long history makes a store slow to open or to write."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw

import finality
from finality.adapters.sqlite.connection import connect
from finality.adapters.sqlite.queries import QUERIES
from finality.cli.bench.bound import DONE, STARTED
from finality.cli.bench.machine import description
from finality.cli.bench.workload import SAGAS, check, measure
from finality.core.ids import uuid7

CONCURRENCY = 256
ROUNDS = 3
FILLED_AT_ONCE = 20_000

METHOD = (
    "the same three-step sagas in an empty store and in one filled, by SQL, with finished ones of five "
    "events each; the two take turns, 256 in flight; medians"
)


async def run(directory: Path, finished: int, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Fill a store with *finished* sagas and measure beside an empty one."""
    machine = description(directory)
    empty, full = directory / "empty.db", directory / "full.db"
    async with finality.open_async(f"sqlite:///{full}", sagas=SAGAS.values()):
        say(f"filling a store with {finished} finished sagas")
    await _fill(full, finished, say)
    begun = time.perf_counter()
    async with finality.open_async(f"sqlite:///{full}", sagas=SAGAS.values()) as node:
        opened = time.perf_counter() - begun
        async with finality.open_async(f"sqlite:///{empty}", sagas=SAGAS.values()) as other:
            ratios, rates = [], []
            counts = [0, 0]
            for number in range(ROUNDS):
                say(f"round {number + 1} of {ROUNDS}")
                runs = [
                    await measure(each, "success", concurrency=CONCURRENCY, seconds=seconds / ROUNDS)
                    for each in (node, other)
                ]
                counts = [count + done.count for count, done in zip(counts, runs, strict=True)]
                rates.append([done.count / done.seconds for done in runs])
                ratios.append(rates[-1][0] / rates[-1][1])
            await check(node, {"success": counts[0] + finished})
            await check(other, {"success": counts[1]})
    return {
        "bench": "history",
        "machine": machine,
        "method": METHOD,
        "results": {
            "finished sagas": finished,
            "events": finished * 5,
            "GiB of the store": round(full.stat().st_size / 2**30, 2),
            "seconds to open": round(opened, 3),
            "a second with the history": round(statistics.median(rate[0] for rate in rates)),
            "a second in an empty store": round(statistics.median(rate[1] for rate in rates)),
            "ratio": round(statistics.median(ratios), 3),
        },
        "checked": {"sagas": sum(counts), "each ended once": True},
    }


async def _fill(path: Path, finished: int, say: Callable[[str], None]) -> None:
    """Write finished sagas as the product does, but many in one commit and without an engine."""
    connection = connect(path)
    now = time.time()
    node = _number(connection, "SELECT max(node) FROM finality_node")
    definition = _number(connection, "SELECT definition FROM finality_definition WHERE kind = 'ThreeSteps'")
    for begin in range(0, finished, FILLED_AT_ONCE):
        keys = range(begin + 1, min(begin + FILLED_AT_ONCE, finished) + 1)
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            QUERIES["create"],
            (
                (f"transaction/{uuid7(int(now * 1000), key)}", 5, definition, "completed", None, None, node,
                 None, now)
                for key in keys
            ),
        )  # fmt: skip
        connection.executemany(QUERIES["insert_event"], _events(keys, now, node))
        connection.execute("COMMIT")
        say(f"{keys[-1]} of {finished}")
        await asyncio.sleep(0)  # Ctrl-C ends it here.
    connection.close()


def _number(connection: apsw.Connection, sql: str) -> int:
    [(number,)] = connection.execute(sql).fetchall()
    assert isinstance(number, int), f"{sql} answered {number!r}"
    return number


def _events(keys: range, now: float, node: int) -> Iterator[tuple[Any, ...]]:
    types = ("saga.Started", "saga.StepDone", "saga.StepDone", "saga.StepDone", "saga.Completed")
    for key in keys:
        for version, type_name in enumerate(types, 1):
            data = STARTED if version == 1 else b"{}" if version == 5 else DONE
            yield key, version, type_name, data, now, node
