"""`finality bench` counts afterwards that nothing was lost or doubled; what it measures, no test can know."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import finality
from finality.cli.bench.nodes import open_nodes, shared_out
from finality.cli.bench.peers import dbos_saga
from finality.cli.bench.peers.run import Figures, two_phase
from finality.cli.bench.saga import Server, run
from finality.cli.bench.workload import ThreeSteps, check
from finality.testing import PostgresServer

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("postgres")]

SECONDS = 0.2


def check_figures(figures: dict[str, Any], names: set[str]) -> None:
    """See that something was measured of everybody."""
    assert set(figures) >= names
    for name in names:
        assert figures[name]["count"] > 0, f"{name} has done nothing"
        assert 0 < figures[name]["p50_ms"] <= figures[name]["p99_ms"]


def test_sagas_on_a_server_end_once_each_and_stand_beside_their_bound(
    tmp_path: Path, finality_postgres: PostgresServer
) -> None:
    url = finality_postgres.database()

    result = asyncio.run(run(Server(url, tmp_path), SECONDS, 1, [8], [2], lambda line: None))

    [figures] = result["results"]
    variants = {"success, 2 nodes", "compensation, 2 nodes"}
    bounds = {f"{each} bound{more}" for each in ("success", "compensation") for more in ("", ", 2 writers")}
    check_figures(figures, variants | bounds)
    assert figures["success, 2 nodes"]["ratio_to_bound"] > 0
    assert figures["success, 2 nodes"]["ratio_to_as_many_writers"] > 0
    assert result["checked"]["sagas"] == sum(figures[each]["count"] for each in variants)
    assert result["machine"]["fsync"] == "off", "as it is on the server of a test"


@pytest.mark.parametrize("clients, shares", [(1, [1]), (5, [2, 2, 1]), (9, [3, 3, 3])])
def test_nodes_share_the_clients_and_none_is_without(clients: int, shares: list[int]) -> None:
    assert shared_out(clients, 3) == shares


def test_a_node_process_that_fails_ends_the_bench(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async def story() -> None:
        async with open_nodes(1) as nodes:
            await nodes.measure("node", f"sqlite:///{tmp_path}/absent/bench.db", "success", [1], SECONDS)

    with pytest.raises(finality.Unavailable, match="has ended too soon"):
        asyncio.run(story())
    assert "check that its folder exists" in capfd.readouterr().err


@pytest.mark.parametrize(
    "package, arguments, install",
    [
        ("nats", ["relay", "--broker", "nats://127.0.0.1"], "finality[nats]"),
        ("asyncpg", ["two-phase"], "finality[postgres,testing]"),
    ],
)
def test_a_package_that_is_missing_is_named_in_one_line(
    package: str, arguments: list[str], install: str
) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from finality.cli import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", code, "bench", *arguments], capture_output=True, text=True, timeout=60
    )

    [line] = ended.stderr.splitlines()
    assert line.endswith(f"which is not installed: pip install {install}")
    assert ended.returncode == 1


def test_the_consumer_of_a_bench_that_was_killed_ends(tmp_path: Path) -> None:
    module, url = "finality.cli.bench.relay_consumer", f"sqlite:///{tmp_path}/events.db"
    given = [sys.executable, "-m", module, url, "orders", "1", "1"]
    process = subprocess.Popen(given, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None, "its output is a pipe"
    assert process.stdout.readline() == '"ready"\n'

    process.communicate(timeout=60)  # Closes its input, as the end of its parent does.

    assert process.returncode == 1


def test_the_count_finds_a_saga_that_is_missing_or_too_many(finality_postgres: PostgresServer) -> None:
    async def story() -> None:
        async with finality.open_async(finality_postgres.database(), sagas=[ThreeSteps]) as node:
            await (await node.start(ThreeSteps(1))).outcome()
            await check(node, {"success": 1})
            for wrong in ({"success": 2}, {"success": 0}, {"compensation": 1}):
                with pytest.raises(AssertionError, match="but started"):
                    await check(node, wrong)

    asyncio.run(story())


def test_two_phase_sessions_of_a_peer_move_the_same_money(
    tmp_path: Path, finality_postgres: PostgresServer
) -> None:
    figures = Figures(SECONDS, 1, [4], lambda line: None)

    [result], checked = asyncio.run(two_phase(finality_postgres, tmp_path, figures))

    check_figures(result, {"finality", "SQLAlchemy"})
    assert checked["cents moved"] == result["finality"]["count"] + result["SQLAlchemy"]["count"]
    assert checked["branches left in doubt"] == 0


def test_a_python_without_the_peer_says_so() -> None:
    with pytest.raises(dbos_saga.PeerFailed, match="No package metadata was found for dbos"):
        asyncio.run(dbos_saga.version(Path(sys.executable)))
