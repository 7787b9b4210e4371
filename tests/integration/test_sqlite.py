"""A SQLite store as the world treats it: files that are none, full disks, long logs."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from finality.adapters.sqlite import engine as sqlite_engine
from finality.adapters.sqlite import log as sqlite_log
from finality.adapters.sqlite.store import SqliteHome
from finality.core.errors import OutcomeUnknown, Unavailable
from finality.core.ids import StreamName, Version
from tests.conformance.worlds import (
    SQLITE,
    SQLITE_INLINE,
    AnyHome,
    Do,
    Noted,
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


# ── The write-ahead log ─────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_one_gap_between_readers_lets_the_log_begin_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_log, "CHECKPOINT_PAGES", 20)
    monkeypatch.setattr(sqlite_log, "RESTART_PAGES", 60)
    monkeypatch.setattr(sqlite_log, "RESTART_MILLISECONDS", 1)
    monkeypatch.setattr(sqlite_log, "SHORT_PAGES", 1_000_000)  # The file shall be as long as the log.

    async def main(home: AnyHome) -> None:
        readers = [apsw.Connection(str(world.path)) for _ in range(2)]
        log = world.path.with_name("home.db-wal")
        sizes = []
        for turn in range(40):
            # One reader begins before the other one ends, again and again, except for one gap.
            for reader in readers if turn == 20 else [readers[turn % 2]]:
                if reader.in_transaction:
                    reader.execute("COMMIT")
            if turn != 20:
                readers[turn % 2].execute("BEGIN; SELECT count(*) FROM finality_event").fetchall()
            for number in range(2):
                await home.append(
                    StreamName("a"), [Noted(0, "x" * 9_000)], expected=Version(2 * turn + number)
                )
            sizes.append(log.stat().st_size)
        for reader in readers:
            reader.close()

        assert len(await home.read(StreamName("a"))) == 80
        begin = sizes[0]  # The schema is in the log, too.
        assert sizes[19] - begin > 1.8 * (sizes[9] - begin)
        assert sizes[39] < 1.2 * sizes[20], sizes

    world.run(main)
    check_integrity(world.path)


def test_a_commit_is_answered_before_its_log_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(SQLITE, tmp_path)

    async def main(home: AnyHome) -> None:
        await do(home, append_to("a", 1))
        reader = apsw.Connection(str(world.path))
        reader.execute("BEGIN; SELECT count(*) FROM finality_event").fetchall()
        monkeypatch.setattr(sqlite_log, "CHECKPOINT_PAGES", 1)
        monkeypatch.setattr(sqlite_log, "RESTART_PAGES", 1)  # To copy means to wait for whoever reads.
        monkeypatch.setattr(sqlite_log, "RESTART_MILLISECONDS", 60_000)
        try:
            async with asyncio.timeout(20):
                await do(home, append_to("b", 1))

            assert reader.in_transaction  # So nothing can have been copied.
        finally:
            reader.close()

    world.run(main)


def test_the_file_of_the_log_is_longer_than_the_log(world: World, tmp_path: Path) -> None:
    log = world.path.with_name("home.db-wal")
    ends: list[int] = []  # Of the frames that each commit left behind.

    async def main(home: AnyHome) -> None:
        others = world.home()  # Two writers lengthen it in turn.
        for number in range(60):
            writer = others if number % 2 else home
            await writer.append(StreamName("a"), [Noted(number, "x" * 9_000)], expected=Version(number))
            ends.append(len(log.read_bytes().rstrip(b"\0")))
        at_rest = log.stat().st_size
        await home.append(StreamName("b"), [Noted(0)], expected=Version(0))

        assert log.stat().st_size == at_rest > ends[-1] + sqlite_log.AHEAD_BYTES // 8
        shutil.copytree(world.path.parent, tmp_path / "after a crash")

    world.run(main)
    copy = tmp_path / "after a crash" / "home.db"
    check_integrity(copy)

    assert ends == sorted(set(ends)), "a frame was written over"
    assert apsw.Connection(str(copy)).execute("SELECT count(*) FROM finality_event").fetchall() == [(61,)]


def test_a_log_whose_file_cannot_be_lengthened_is_written_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)  # SQLite itself does not pass here.
    monkeypatch.setattr(sqlite_log, "SHORT_PAGES", 0)

    async def main(home: AnyHome) -> None:
        for number in range(3):
            await home.append(StreamName("a"), [Noted(number)], expected=Version(number))

        assert len(await home.read(StreamName("a"))) == 3

    world.run(main)
