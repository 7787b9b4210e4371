"""The write-ahead log of a SQLite store: how long it gets, and who waits while it is copied."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from pathlib import Path

import apsw
import pytest

from finality.adapters.sqlite import log as sqlite_log
from finality.core.ids import StreamName, Version
from tests.conformance.worlds import SQLITE, SQLITE_INLINE, AnyHome, Noted, World, append_to, do
from tests.integration.sqlite_files import check_integrity


@pytest.fixture(params=[SQLITE, SQLITE_INLINE])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(request.param, tmp_path)


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


def test_the_log_begins_anew_while_only_scopes_write(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_log, "CHECKPOINT_PAGES", 20)
    monkeypatch.setattr(sqlite_log, "SHORT_PAGES", 1_000_000)  # The file shall be as long as the log.

    async def main(home: AnyHome) -> None:
        sizes = []
        for number in range(30):
            scope = home.scope("a scope")
            await scope.call(append_to(f"s{number}", *range(100)))
            await scope.commit()
            sizes.append(world.path.with_name("home.db-wal").stat().st_size)

        assert sizes[29] < 1.2 * sizes[9], sizes

    world.run(main)


@pytest.mark.slow
def test_the_log_begins_anew_while_two_writers_never_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(SQLITE, tmp_path)
    monkeypatch.setattr(sqlite_log, "CHECKPOINT_PAGES", 20)
    monkeypatch.setattr(sqlite_log, "RESTART_PAGES", 1_000_000)
    monkeypatch.setattr(sqlite_log, "SHORT_PAGES", 1_000_000)  # The file shall be as long as the log.

    async def write(home: AnyHome, name: str) -> None:
        stream = StreamName(name)
        for number in range(100):
            await home.append(stream, [Noted(number, "x" * 9_000)], expected=Version(number))

    async def main(home: AnyHome) -> None:
        begun = world.path.with_name("home.db-wal").stat().st_size // 4096  # The schema is in the log, too.
        await asyncio.gather(write(home, "a"), write(world.home(), "b"))

        pages = world.path.with_name("home.db-wal").stat().st_size // 4096
        assert pages < begun + 100, f"{pages} pages, of some 800 that were written"

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
