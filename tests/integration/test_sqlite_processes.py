"""A SQLite store among processes: followers, forks, and loops that end too early."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from finality.adapters.sqlite.store import SqliteHome
from finality.core.errors import Unavailable
from finality.testing.world import at_once
from tests.conformance.worlds import (
    SQLITE,
    SQLITE_INLINE,
    AnyHome,
    CountingEnvironment,
    Do,
    World,
    append_to,
    codec,
    do,
)
from tests.integration.sqlite_files import check_integrity
from tests.tidy.rules import ROOT


@pytest.fixture(params=[SQLITE, SQLITE_INLINE])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(request.param, tmp_path)


# ── Processes ───────────────────────────────────────────────────────────────────────────────

FOLLOWED = """
import asyncio, sys
from pathlib import Path
from tests.conformance.test_journal import write
from tests.conformance.worlds import CountingEnvironment, codec
from finality.adapters.sqlite.store import SqliteHome

async def main():
    home = SqliteHome(Path(sys.argv[1]), CountingEnvironment(is_threaded=True), codec())
    await asyncio.gather(*(write(home, ["s0", "s1", "s2"], 40) for _ in range(3)))
    await home.close()

asyncio.run(main())
"""


@pytest.mark.slow
def test_a_follower_of_two_processes_misses_nothing_doubles_nothing_and_keeps_the_order(
    tmp_path: Path,
) -> None:
    world = World(SQLITE, tmp_path)

    async def main(home: AnyHome) -> None:
        children = [
            await asyncio.create_subprocess_exec(
                sys.executable, "-c", FOLLOWED, str(world.path), cwd=ROOT, stderr=subprocess.PIPE
            )
            for _ in range(2)
        ]
        heard = []
        async for recorded in home.follow():
            heard.append((str(recorded.stream), int(recorded.version), recorded.position))
            if len(heard) == 240:
                break
        for child in children:
            _, errors = await child.communicate()
            assert errors == b""

        assert [position for *_, position in heard] == sorted({position for *_, position in heard})
        versions = {name: [v for stream, v, _ in heard if stream == name] for name in ("s0", "s1", "s2")}
        assert all(found == list(range(1, len(found) + 1)) for found in versions.values())
        assert [(r.stream, r.version, r.position) for r in (await home.page()).events] == heard

    world.run(main)


def in_a_fork(work: Callable[[], str]) -> str:
    """Return what *work* returns in a forked child."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writes, work().encode())
        finally:
            os._exit(0)
    os.close(writes)
    os.waitpid(child, 0)
    with os.fdopen(reads) as file:
        return file.read()


def complaint(work: Callable[[], object]) -> str:
    try:
        return f"no error, but {work()!r}"
    except Unavailable as error:
        return str(error)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_told_to_open_the_store_itself(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await do(home, append_to("a", 1))
        turn = Do(append_to("b", 1))
        scope = home.scope("a scope")
        heard = [
            in_a_fork(lambda: complaint(lambda: home.submit(turn))),
            in_a_fork(lambda: complaint(lambda: scope.call(append_to("b", 1)))),
            in_a_fork(lambda: complaint(lambda: at_once(home.query("SELECT 1")))),
            in_a_fork(lambda: complaint(lambda: at_once(home.heads()))),
        ]

        assert ["open it again in this process" in complaint for complaint in heard] == [True] * 4, heard
        assert await do(home, append_to("c", 1)) == 1

    world.run(main)
    check_integrity(world.path)


def test_a_loop_that_ends_without_closing_gives_the_write_turn_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finality.adapters.group_commit.IDLE_SECONDS", 0.01)
    monkeypatch.setattr("finality.adapters.group_commit.SCOPE_SECONDS_MAX", 0.01)
    homes: list[SqliteHome] = []

    async def forget_to_close() -> None:
        home = SqliteHome(tmp_path / "home.db", CountingEnvironment(is_threaded=True), codec())
        homes.append(home)
        await do(home, append_to("a", 1))
        await home.scope("a scope").call(append_to("b", 1))

    asyncio.run(forget_to_close())
    thread = homes[0]._writer._thread
    assert thread is not None
    thread.join(timeout=10)

    assert not thread.is_alive()

    async def look(home: AnyHome) -> None:
        assert await do(home, append_to("c", 1)) == 1
        assert [r.stream for r in (await home.page()).events] == ["a", "c"]

    World(SQLITE, tmp_path).run(look)
