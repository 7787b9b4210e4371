"""The way to a SQLite file's write turn: whoever waits is next, and nobody is kept out by one who stopped."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import apsw
import pytest

from finality.adapters.sqlite import turnstile
from finality.adapters.sqlite.store import SqliteHome
from finality.adapters.sqlite.turnstile import Turnstile
from finality.adapters.system.environment import SystemEnvironment
from finality.core.errors import Unavailable
from tests.conformance.worlds import codec, do, execute
from tests.integration.kit import eventually, within


@pytest.fixture
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Turnstile, Turnstile, Turnstile]:
    """Return the ways of three processes to one file; such locks do not care whose process they are in."""
    monkeypatch.setattr(turnstile, "PATIENCE_SECONDS", 30.0)
    monkeypatch.setattr(turnstile, "IDLE_SECONDS", 0.01)
    log = tmp_path / "shop.db-wal"
    log.touch()
    return Turnstile(str(log)), Turnstile(str(log)), Turnstile(str(log))


def until(is_so: Callable[[], bool], what: str) -> None:
    asyncio.run(eventually(is_so, what))


def is_first(way: Turnstile) -> bool:
    if way.enter():
        return True
    way.wait(0.0)
    return False


def is_let_in(way: Turnstile) -> bool:
    """Say whether nobody was first; then nobody is."""
    is_in = way.enter()
    if is_in:
        way.leave()
    return is_in


def test_who_waits_is_next_and_not_who_has_just_been_first(
    three: tuple[Turnstile, Turnstile, Turnstile],
) -> None:
    one, two, _ = three
    assert one.enter()
    for first, next in ((one, two), (two, one)) * 3:
        assert not next.enter()
        first.leave()
        until(partial(is_first, next), "who waited never came to the front")


def test_who_has_given_up_keeps_nobody_waiting(three: tuple[Turnstile, Turnstile, Turnstile]) -> None:
    one, two, other = three
    assert one.enter()
    assert not two.enter()
    two.leave()
    one.leave()
    until(lambda: not two._is_in_line, "who has given up never came to the front")
    until(lambda: is_first(other), "it is first, and wants nothing")
    assert not two.enter()
    other.leave()
    until(lambda: is_first(two), "who came again never came to the front")


def test_who_leaves_does_so_for_a_child_that_was_forked_meanwhile(
    three: tuple[Turnstile, Turnstile, Turnstile],
) -> None:
    one, two, _ = three
    assert one.enter()
    assert one._place is not None
    inherited = os.dup(one._place)
    one.leave()
    assert two.enter()
    two.leave()
    os.close(inherited)


def test_the_line_is_left_aside_while_its_first_has_stopped(
    three: tuple[Turnstile, Turnstile, Turnstile], monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped, two, other = three
    assert stopped.enter()
    assert not two.enter()
    monkeypatch.setattr(turnstile, "PATIENCE_SECONDS", 0.0)
    assert two.enter(), "SQLite's lock may be free"
    two.leave()
    assert two.enter(), "not another wait for each commit"
    monkeypatch.setattr(turnstile, "PATIENCE_SECONDS", 30.0)
    stopped.leave()
    until(lambda: two.enter() and not is_let_in(other), "it never came back into the line")
    other.leave()
    two.leave()


def test_its_thread_ends_when_nobody_else_writes(three: tuple[Turnstile, Turnstile, Turnstile]) -> None:
    one, two, _ = three
    assert one.enter()
    assert not two.enter()
    one.leave()
    until(lambda: is_first(two), "who waited never came to the front")
    two.leave()
    until(lambda: "finality turnstile" not in {t.name for t in threading.enumerate()}, "it has not ended")


def test_who_closes_leaves_no_thread(
    three: tuple[Turnstile, Turnstile, Turnstile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turnstile, "IDLE_SECONDS", 30.0)
    one, two, _ = three
    assert one.enter()
    assert not two.enter()
    one.leave()
    until(lambda: is_first(two), "who waited never came to the front")
    two.close()
    assert "finality turnstile" not in {thread.name for thread in threading.enumerate()}


def test_without_a_log_there_is_no_line(tmp_path: Path) -> None:
    one, two = (Turnstile(str(tmp_path / "absent-wal")) for _ in range(2))
    assert one.enter()
    assert two.enter()


def test_a_scope_keeps_its_place_in_the_line_and_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turnstile, "LOOK_SECONDS", 0.001)
    done: list[str] = []
    come, wait = Turnstile._stand_in_line, Turnstile.wait

    def seen_coming(way: Turnstile, place: int) -> None:
        done.append("came")
        come(way, place)

    def seen_waiting(way: Turnstile, seconds: float) -> None:
        done.append("waited")
        wait(way, seconds)

    monkeypatch.setattr(Turnstile, "_stand_in_line", seen_coming)
    monkeypatch.setattr(Turnstile, "wait", seen_waiting)

    async def main() -> None:
        home = SqliteHome(tmp_path / "shop.db", SystemEnvironment(), codec())
        other = Turnstile(f"{tmp_path}/shop.db-wal")
        await do(home, execute("CREATE TABLE item (n)"))
        assert other.enter(), "a commit has left"
        scope = home.scope("a scope")
        called = scope.call(execute("SELECT 1"))
        await eventually(lambda: done.count("waited") > 2)
        other.leave()
        assert await within(called) == [(1,)]
        await scope.abort()
        assert is_let_in(other), "an abort has left"
        await home.close()

        assert done.count("came") == 1

    asyncio.run(main())


def test_who_finds_the_file_replaced_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turnstile, "PATIENCE_SECONDS", 30.0)

    async def main() -> None:
        home = SqliteHome(tmp_path / "shop.db", SystemEnvironment(), codec())
        await do(home, execute("CREATE TABLE item (n)"))
        stranger, other = apsw.Connection(f"{tmp_path}/shop.db"), Turnstile(f"{tmp_path}/shop.db-wal")
        stranger.execute("BEGIN IMMEDIATE")
        called = home.scope("a scope").call(execute("SELECT 1"))
        await eventually(lambda: not is_let_in(other), "it never came to the front")
        os.rename(tmp_path / "shop.db", tmp_path / "gone.db")
        with pytest.raises(Unavailable, match="deleted or replaced"):
            await within(called)
        await eventually(lambda: is_first(other), "it is first, and writes no more")
        other.close()
        stranger.close()
        await home.close()

    asyncio.run(main())
