"""Two-phase commit beside SQLAlchemy's, and the three-step saga beside a durable-execution library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version as version_of
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import finality
from finality.cli.bench.beside import FINALITY, beside
from finality.cli.bench.machine import description
from finality.cli.bench.peers import dbos_saga
from finality.cli.bench.two_phase import MEMORY, contestant, fill, product, total_of
from finality.cli.bench.workload import SAGAS, Run, check, measure
from finality.testing import PostgresServer, postgres

SQLALCHEMY, DBOS = "SQLAlchemy", "DBOS"
SETTINGS = {"fsync": "on", "max_prepared_transactions": "300", "shared_buffers": MEMORY}
METHOD = (
    "everything on one PostgreSQL server, fsync on; each client waits for the end before it begins the next. "
    "Two-phase: a cent is moved between two databases; Finality (asyncio, asyncpg) writes its decision "
    "durably to a SQLite home and recovers, SQLAlchemy (Session(twophase=True), threads, psycopg) records no "
    "decision. Saga: three steps that do nothing but answer, each durable before the next; DBOS runs it as "
    "a workflow, in threads, with a connection for each client. Both take turns; medians"
)


class Figures:
    """What is measured, round by round, and told meanwhile."""

    def __init__(
        self, seconds: float, rounds: int, concurrencies: Sequence[int], say: Callable[[str], None]
    ) -> None:
        self.concurrencies = concurrencies
        self._seconds = seconds
        self._rounds = rounds
        self._say = say

    async def of(self, contestants: dict[str, Any]) -> list[dict[str, Any]]:
        """Let them take turns at every concurrency."""
        return [
            await beside(contestants, concurrency, self._seconds, self._rounds, self._say)
            for concurrency in self.concurrencies
        ]


async def run(
    directory: Path,
    seconds: float,
    rounds: int,
    concurrencies: Sequence[int],
    peer_python: Path | None,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Measure, *seconds* for each round of each figure, and check what is left on the server.

    Args:
        peer_python: A Python that has the durable-execution library; by default one is made.
    """
    machine = description(directory)
    figures = Figures(seconds, rounds, concurrencies, say)
    results: dict[str, Any] = {}
    checked: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    with postgres(settings=SETTINGS) as server:
        machine["postgresql"] = server.sql("SHOW server_version")[0][0]
        if find_spec("sqlalchemy") is None or find_spec("psycopg") is None:
            left_out[SQLALCHEMY] = "pip install 'finality[sqlalchemy,psycopg]'"
        else:
            machine[SQLALCHEMY] = version_of("sqlalchemy")
            results["two-phase"], money = await two_phase(server, directory, figures)
            checked |= money
        try:
            python = peer_python or await dbos_saga.installed(directory / "peer")
            machine[DBOS] = await dbos_saga.version(python)
        except dbos_saga.PeerFailed as failed:
            left_out[DBOS] = str(failed)
        else:
            results["saga"], sagas = await saga(server, python, figures)
            checked |= sagas
    return {
        "bench": "peers",
        "machine": machine,
        "method": METHOD,
        "seconds": seconds * rounds,
        "rounds": rounds,
        "results": results,
        "left_out": left_out,
        "checked": checked,
    }


async def two_phase(server: PostgresServer, directory: Path, figures: Figures) -> tuple[Any, dict[str, Any]]:
    """Move cents, and count them afterwards."""
    from finality.cli.bench.peers.sqlalchemy_two_phase import TwoPhaseSessions

    urls = [server.database(name) for name in ("bank", "shop")]
    for url in urls:
        await fill(url)
    most = max(figures.concurrencies)
    bank, shop = (
        finality.postgres(url, name=name, connections_max=most)
        for name, url in zip(("bank", "shop"), urls, strict=True)
    )
    sessions = TwoPhaseSessions(urls, most)
    moved = 0

    def counted(measured: Any) -> Any:
        async def count(concurrency: int, seconds: float) -> Run:
            nonlocal moved
            done: Run = await measured(concurrency, seconds)
            moved += done.count
            return done

        return count

    home = f"sqlite:///{directory / 'home.db'}"
    try:
        async with finality.open_async(home, participants=[bank, shop]) as node:
            ours = contestant(product(node, bank, shop))
            results = await figures.of({FINALITY: counted(ours), SQLALCHEMY: counted(sessions.measure)})
    finally:
        sessions.close()
    totals = [await total_of(url) for url in urls]
    [[left]] = server.sql("SELECT count(*) FROM pg_prepared_xacts")
    assert totals == [-moved, moved], f"{moved} cents were moved, and {totals} are on the accounts"
    assert left == "0", f"{left} branches were left in doubt"
    return results, {"cents moved": moved, "money that was lost": 0, "branches left in doubt": 0}


async def saga(server: PostgresServer, python: Path, figures: Figures) -> tuple[Any, dict[str, Any]]:
    """Run sagas and workflows, and count them afterwards."""
    workflows = dbos_saga.Workflows(python, server.database("dbos"))
    started = 0
    async with finality.open_async(server.database("home"), sagas=SAGAS.values()) as node:

        async def ours(concurrency: int, seconds: float) -> Run:
            nonlocal started
            done = await measure(node, "success", concurrency=concurrency, seconds=seconds)
            started += done.count
            return done

        results = await figures.of({FINALITY: ours, DBOS: workflows.measure})
        await check(node, {"success": started})
    ended = server.sql(
        "SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'",
        "SELECT count(*) FROM dbos.workflow_status",
        "SELECT count(*) FROM dbos.operation_outputs",
        database="dbos",
    )
    counts = [int(count) for [count] in ended]
    expected = [workflows.ended, workflows.ended, 3 * workflows.ended]
    assert counts == expected, f"{counts} workflows and steps are recorded, and {expected} have ended"
    return results, {"sagas": started, "each ended once": True, "workflows of the peer": workflows.ended}
