"""How a store ends: closed, abandoned, or by a crash, with every adapter."""

from __future__ import annotations

import asyncio

import pytest

from finality.adapters import group_commit
from finality.core.errors import Unavailable
from tests.conformance.tables import insert, items, table
from tests.conformance.worlds import AnyHome, Do, World, append_to, crash, do

# ── The end ─────────────────────────────────────────────────────────────────────────────────


def test_closing_settles_what_was_submitted_and_refuses_the_rest(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        turns = [Do(insert(n)) for n in range(5)]
        for turn in turns:
            home.submit(turn)
        await home.close()

        assert [turn.done.result() for turn in turns] == [[]] * 5

        late = Do(insert(9))
        home.submit(late)
        with pytest.raises(Unavailable, match="closed"):
            await late.done
        with pytest.raises(Unavailable, match="closed"):
            await home.scope("late").call(insert(9))
        with pytest.raises(Unavailable, match="closed"):
            await home.query("SELECT 1")
        await home.close()

        assert await items(world.home()) == [0, 1, 2, 3, 4]

    world.run(main)


def test_closing_waits_for_the_open_scope(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        scope = home.scope("a scope")
        await scope.call(insert(1))
        closing = asyncio.ensure_future(home.close())
        await asyncio.sleep(0)
        await scope.call(insert(2))
        await scope.commit()
        await closing

        assert await items(world.home()) == [1, 2]

    world.run(main)


def test_closing_with_a_scope_that_nobody_ends_aborts_it_in_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "SCOPE_SECONDS_MAX", 0.02)

    async def main(home: AnyHome) -> None:
        await table(home)
        await home.scope("a scope").call(insert(1))
        await home.close()

        assert await items(world.home()) == []

    world.run(main)


def test_a_store_that_is_abandoned_leaves_exactly_what_was_committed(world: World) -> None:
    if world.environment.is_threaded:
        pytest.skip("with a thread, a crash takes the process along")

    async def main(home: AnyHome) -> None:
        await table(home)
        await do(home, insert(1))
        scope = home.scope("a scope")
        await scope.call(insert(2))
        await scope.call(append_to("a", 1))
        never = Do(insert(3))
        home.submit(never)
        crash(home)
        other = world.home()

        assert await items(other) == [1]
        assert (await other.page()).events == []
        assert await do(other, insert(2)) == []
        assert not never.done.done()

    world.run(main)


class Crash(BaseException):
    """A planted death of the process."""


@pytest.mark.parametrize("point, left", [("commit.before", [1]), ("commit.after", [1, 2])])
def test_a_crash_planted_around_the_commit_leaves_what_was_committed(
    world: World, point: str, left: list[int]
) -> None:
    if world.environment.is_threaded:
        pytest.skip("with a thread, a crash takes the process along")

    def crash(reached: str) -> None:
        if reached == point:
            raise Crash

    async def main(home: AnyHome) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: None)
        await table(home)
        await do(home, insert(1))
        world.environment.crash = crash
        dying = Do(insert(2))
        home.submit(dying)
        for _ in range(10):
            await asyncio.sleep(0)
        world.environment.crash = lambda point: None

        assert not dying.done.done()
        assert await items(world.home()) == left

    world.run(main)
