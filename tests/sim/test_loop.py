"""The simulated event loop: time that is not waited for, and an order that a seed decides."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from finality.testing import SimulatedLoop, World
from finality.testing.loop import Idle, new_loop
from finality.testing.process import Crash

DAYS = timedelta(days=30).total_seconds()
Simulation = Callable[..., World]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def loop() -> Iterator[SimulatedLoop]:
    loop = new_loop(7)
    yield loop
    loop.close()


async def count(seen: list[str], name: str, times: int) -> None:
    """Do something that others can come in between of."""
    for number in range(times):
        seen.append(f"{name}{number}")
        await asyncio.sleep(0)


def test_a_month_passes_in_no_time(loop: SimulatedLoop) -> None:
    loop.run_until_complete(asyncio.sleep(DAYS))

    assert loop.time() == pytest.approx(DAYS, abs=1.0)


def test_a_process_runs_its_callbacks_in_order(loop: SimulatedLoop) -> None:
    """asyncio promises it, so that code may rely on it."""
    process = loop.process("a")
    seen: list[Any] = []

    async def ask() -> None:
        for number in range(100):
            asyncio.get_running_loop().call_soon(seen.append, number)
        await asyncio.sleep(0)

    loop.run_until_complete(process.spawn(ask()))

    assert seen == list(range(100))


def test_the_seed_decides_which_process_goes_on() -> None:
    def order(seed: int) -> list[str]:
        loop = new_loop(seed)
        seen: list[str] = []
        tasks = [loop.process(name).spawn(count(seen, name, 5)) for name in "ab"]
        for task in tasks:
            loop.run_until_complete(task)
        loop.close()
        return seen

    orders = {tuple(order(seed)) for seed in range(20)}

    assert order(3) == order(3)
    assert len(orders) > 10


def test_the_dead_do_nothing_more(loop: SimulatedLoop) -> None:
    process = loop.process("a")
    seen: list[Any] = []
    process.spawn(count(seen, "a", 1_000))

    async def kill() -> int:
        await asyncio.sleep(0)
        process.kill()
        before = len(seen)
        await asyncio.sleep(1.0)
        return before

    assert loop.run_until_complete(kill()) == len(seen)


def test_a_crash_in_the_middle_runs_no_finally_block(loop: SimulatedLoop) -> None:
    """Until the world ends: what a killed process would still have done must not be seen."""
    process = loop.process("a")
    seen: list[Any] = []

    async def die() -> None:
        process.kill()
        raise Crash("here")

    async def work() -> None:
        try:
            await asyncio.sleep(1.0)
        finally:
            seen.append("cleaned up")

    process.spawn(work())
    process.spawn(die())
    loop.run_until_complete(asyncio.sleep(5.0))

    assert (seen, loop.errors) == ([], [])


def test_who_is_paused_goes_on_later_as_if_nothing_had_been(loop: SimulatedLoop) -> None:
    process = loop.process("a")

    async def wait() -> float:
        await asyncio.sleep(1.0)
        return loop.time()

    task = process.spawn(wait())
    process.pause(60.0)

    assert loop.run_until_complete(task) >= 60.0


def test_waiting_for_what_can_never_come_is_an_error(loop: SimulatedLoop) -> None:
    with pytest.raises(Idle):
        loop.run_until_complete(loop.create_future())


def test_what_nobody_caught_is_kept(loop: SimulatedLoop) -> None:
    async def fail() -> None:
        asyncio.get_running_loop().call_soon(int, "no number")
        await asyncio.sleep(0.1)

    loop.run_until_complete(fail())

    assert [type(error["exception"]) for error in loop.errors] == [ValueError]


def test_a_world_of_nodes_can_be_left_at_any_time(simulation: Simulation) -> None:
    """Leaving it must not warn of tasks and coroutines that were never awaited."""
    world = simulation()
    node = world.open()
    world.run(node.ask(lambda node: node.run(lambda tx: tx.execute("CREATE TABLE t (a)"))))

    assert world.query("SELECT count(*) FROM t").scalar() == 0


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run_in_another_process() -> None:
    """Under another hash seed, too: no order may come from a set."""
    code = "from tests.sim.simulation import simulate; print(simulate(11, transactions=30).trace)"
    traces = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2", "3")
    ]

    assert len(traces[0]) > 30
    assert len(set(traces)) == 1
