"""A SQLite store as the world treats it: files that are none, full disks, long logs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from finality.adapters.sqlite import engine as sqlite_engine
from finality.adapters.sqlite.store import SqliteHome
from finality.core.errors import OutcomeUnknown, Unavailable
from tests.conformance.worlds import (
    SQLITE,
    SQLITE_INLINE,
    AnyHome,
    Do,
    World,
    append_to,
    do,
    do_all,
    execute,
)
from tests.integration.sqlite_files import check_integrity, opening, python


@pytest.fixture(params=[SQLITE, SQLITE_INLINE])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(request.param, tmp_path)


# ── Files ───────────────────────────────────────────────────────────────────────────────────


def test_a_directory_is_no_store(tmp_path: Path) -> None:
    error = opening(tmp_path)

    assert isinstance(error, Unavailable)
    assert f"cannot open {tmp_path}" in str(error)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "check that its folder exists" in str(opening(tmp_path / "nowhere" / "home.db"))


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam, " * 100)
    error = opening(path)

    assert isinstance(error, Unavailable)
    assert "file is not a database" in str(error)
    assert path.read_text() == "Dear Sir or Madam, " * 100


def test_a_database_in_memory_is_refused(tmp_path: Path) -> None:
    assert "journal mode 'memory'" in str(opening(Path(":memory:")))


READ_ONLY = """
import asyncio, os, sys
from pathlib import Path
from tests.integration.sqlite_files import opening
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
print(opening(Path(sys.argv[1])))
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Make a folder that everybody may look into, as they may not into pytest's own."""
    with tempfile.TemporaryDirectory(prefix="finality-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.slow
def test_a_file_that_may_only_be_read_is_unavailable(open_folder: Path) -> None:
    world = World(SQLITE_INLINE, open_folder)

    async def main(home: AnyHome) -> None:
        await do(home, append_to("a", 1))

    world.run(main)
    world.path.chmod(0o444)

    assert f"cannot open {world.path}: attempt to write a readonly database" in python(READ_ONLY, world.path)


@pytest.mark.parametrize("is_replaced", [True, False])
def test_a_file_that_is_deleted_or_replaced_while_open_is_noticed_before_the_next_write(
    world: World, is_replaced: bool
) -> None:
    async def main(home: AnyHome) -> None:
        await do(home, append_to("a", 1))
        world.path.unlink()
        if is_replaced:
            world.path.touch()
        turn = Do(append_to("b", 1))
        home.submit(turn)
        with pytest.raises(Unavailable, match="was deleted or replaced while it was open"):
            await turn.done
        with pytest.raises(Unavailable, match="was deleted or replaced while it was open"):
            await home.scope("a scope").call(append_to("c", 1))

        assert (turn.runs, turn.forgets) == (0, 0)

    world.run(main)


# ── Disks ───────────────────────────────────────────────────────────────────────────────────


def test_a_full_disk_refuses_what_does_not_fit_and_nothing_else(world: World) -> None:
    """A limit on the pages of the file stands in for the disk's."""

    async def main(home: AnyHome) -> None:
        assert isinstance(home, SqliteHome)
        await do(home, execute("CREATE TABLE item (n, data)"))
        pages = home._connection.pragma("page_count")
        home._connection.pragma("max_page_count", pages + 2)
        large = execute("INSERT INTO item VALUES (1, zeroblob(100000))")
        outcomes = await do_all(home, append_to("a", 1), large, append_to("b", 1))

        assert isinstance(outcomes[1], Unavailable)
        assert "free some disk space" in str(outcomes[1])
        assert [outcomes[0], outcomes[2]] == [1, 1]
        assert (await home.query("SELECT count(*) FROM item")).scalar() == 0

        home._connection.pragma("max_page_count", 1_000_000)
        await do(home, large)

        assert (await home.query("SELECT count(*) FROM item")).scalar() == 1

    world.run(main)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(ballast: Path) -> None:
    """Leave no room on the disk."""
    file = os.open(ballast, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(file, b"x" * 4096)
    os.close(file)


@pytest.mark.parametrize("kind", [SQLITE, SQLITE_INLINE])
def test_a_disk_that_is_full_at_the_commit_makes_the_store_unavailable_until_there_is_room(
    small_disk: Path, kind: str
) -> None:
    world = World(kind, small_disk)

    async def main(home: AnyHome) -> None:
        await do(home, execute("CREATE TABLE item (n, data)"))
        ballast = small_disk / "ballast"
        fill(ballast)
        outcomes = await do_all(
            home, *(execute("INSERT INTO item VALUES (?, zeroblob(20000))", n) for n in range(4))
        )

        assert [type(outcome) for outcome in outcomes] == [Unavailable] * 4

        scope = home.scope("a scope")
        await scope.call(execute("INSERT INTO item VALUES (9, zeroblob(20000))"))
        with pytest.raises(Unavailable):
            await scope.commit()
        ballast.unlink()

        assert await do(home, append_to("a", 1)) == 1
        assert (await home.query("SELECT count(*) FROM item")).scalar() == 0
        assert await home.query("PRAGMA foreign_key_check") == []

    world.run(main)
    check_integrity(world.path)


def test_an_error_at_the_commit_that_nobody_understands_leaves_the_outcome_unknown(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(home: AnyHome) -> None:
        await do(home, append_to("a", 1))

        def commit(self: object) -> None:
            raise apsw.IOError("disk I/O error")

        monkeypatch.setattr(sqlite_engine.SqliteEngine, "commit", commit)
        turn, late = Do(append_to("b", 1)), Do(append_to("c", 1))
        home.submit(turn)
        with pytest.raises(OutcomeUnknown, match="failed while it committed: disk I/O error"):
            await turn.done
        monkeypatch.undo()
        home.submit(late)
        with pytest.raises(Unavailable, match="restart the node"):
            await late.done
        with pytest.raises(Unavailable, match="restart the node"):
            await home.scope("a scope").call(append_to("d", 1))

        assert (turn.forgets, late.runs) == (0, 0)
        # The write turn was given back, so that the others can go on.
        assert await do(world.home(), append_to("e", 1)) == 1

    world.run(main)


def test_a_scope_whose_commit_fails_in_an_unknown_way_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main(home: AnyHome) -> None:
        scope = home.scope("a scope")
        await scope.call(append_to("a", 1))

        def commit(self: object) -> None:
            raise apsw.IOError("disk I/O error")

        monkeypatch.setattr(sqlite_engine.SqliteEngine, "commit", commit)
        last = Do(append_to("b", 1))
        with pytest.raises(OutcomeUnknown):
            await scope.commit(last)
        monkeypatch.undo()

        assert isinstance(last.done.exception(), OutcomeUnknown)
        assert last.forgets == 0

    world.run(main)


def test_a_writer_that_fails_itself_answers_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(SQLITE, tmp_path)

    async def main(home: AnyHome) -> None:
        await do(home, append_to("a", 1))

        def burst(point: str) -> None:
            raise RuntimeError("the crash point burst")

        world.environment.crash = burst
        turn = Do(append_to("b", 1))
        home.submit(turn)
        with pytest.raises(OutcomeUnknown, match="the crash point burst"):
            await turn.done
        world.environment.crash = lambda point: None
        with pytest.raises(Unavailable, match="the crash point burst"):
            await do(home, append_to("c", 1))
        with pytest.raises(Unavailable):
            await home.scope("a scope").call(append_to("d", 1))
        await home.close()

        assert await do(world.home(), append_to("e", 1)) == 1

    world.run(main)

    assert "its writer failed" in caplog.text
