"""A SQLite store as the world treats it: files that are none, full disks, old and new schemas, forks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from finality.adapters.sqlite import engine as sqlite_engine
from finality.adapters.sqlite import store as sqlite_store
from finality.adapters.sqlite.connection import connect
from finality.adapters.sqlite.schema import migrate, migrations, version_of
from finality.adapters.sqlite.store import SqliteHome
from finality.core.errors import FinalityError, OutcomeUnknown, SchemaMismatch, Unavailable
from finality.core.ids import StreamName, Version
from tests.conformance.worlds import (
    SQLITE,
    SQLITE_INLINE,
    AnyHome,
    CountingEnvironment,
    Do,
    Noted,
    World,
    append_to,
    codec,
    do,
    do_all,
    execute,
)
from tests.tidy.rules import ROOT


@pytest.fixture(params=[SQLITE, SQLITE_INLINE])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(request.param, tmp_path)


def opening(path: Path) -> FinalityError:
    """Return the error of opening *path*."""

    async def main() -> None:
        home = SqliteHome(path, CountingEnvironment(is_threaded=False), codec())
        await home.close()

    with pytest.raises(FinalityError) as error:
        asyncio.run(main())
    return error.value


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
from tests.integration.test_sqlite import opening
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
print(opening(Path(sys.argv[1])))
"""


def python(code: str, *arguments: object) -> str:
    """Run *code* in a process of its own and return what it printed."""
    child = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
    return child.stdout


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
        assert home.query("SELECT count(*) FROM item").scalar() == 0

        home._connection.pragma("max_page_count", 1_000_000)
        await do(home, large)

        assert home.query("SELECT count(*) FROM item").scalar() == 1

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
        assert home.query("SELECT count(*) FROM item").scalar() == 0
        assert home.query("PRAGMA foreign_key_check") == []

    world.run(main)
    check_integrity(world.path)


def check_integrity(path: Path) -> None:
    connection = apsw.Connection(str(path))
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


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


# ── Schemas ─────────────────────────────────────────────────────────────────────────────────


def schema_of(path: Path) -> bytes:
    return path.read_bytes()


@pytest.mark.parametrize("part", ["store", "home"])
def test_a_schema_newer_than_this_code_is_refused_before_anything_is_written(world: World, part: str) -> None:
    async def main(home: AnyHome) -> None:
        await do(home, append_to("a", 1))

    world.run(main)
    connection = sqlite3.connect(world.path)
    connection.execute("UPDATE finality_schema SET version = 99 WHERE part = ?", (part,))
    connection.execute("UPDATE finality_schema SET version = 0 WHERE part <> ?", (part,))
    connection.commit()
    connection.close()
    before = world.path.read_bytes()
    error = opening(world.path)

    assert isinstance(error, SchemaMismatch)
    assert f"the {part} schema has version 99" in str(error)
    assert world.path.read_bytes() == before


def test_an_old_schema_is_brought_forward_script_by_script(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def write(home: AnyHome) -> None:
        await do(home, append_to("a", 1))

    async def look(home: AnyHome) -> None:
        assert home.query("SELECT a, b FROM news").one() == (1, 2)
        assert len(await home.page()) == 1

    world.run(write)
    newer = migrations(is_home=True)
    newer["store"] |= {
        2: "CREATE TABLE news (a); INSERT INTO news VALUES (1);",
        3: "ALTER TABLE news ADD COLUMN b DEFAULT 2;",
    }
    monkeypatch.setattr(sqlite_store, "migrations", lambda is_home: newer)
    world.run(look)
    world.run(look)


def test_a_migration_that_fails_leaves_the_old_schema(tmp_path: Path) -> None:
    connection = connect(tmp_path / "home.db")
    migrate(connection, migrations(is_home=True))
    newer = migrations(is_home=True)
    newer["store"][2] = "CREATE TABLE news (a);"
    newer["home"][2] = "CREATE TABLE news (a);"
    with pytest.raises(apsw.SQLError, match="already exists"):
        migrate(connection, newer)

    assert (version_of(connection, "store"), version_of(connection, "home")) == (1, 1)
    assert not connection.table_exists("main", "news")
    connection.close()


def test_a_plain_store_becomes_a_home(tmp_path: Path) -> None:
    async def main() -> None:
        environment = CountingEnvironment(is_threaded=False)
        store = sqlite_store.SqliteStore(tmp_path / "shop.db", environment)
        turn = Do(execute("CREATE TABLE item (n)"))
        store.submit(turn)
        await turn.done
        await store.close()
        home = SqliteHome(tmp_path / "shop.db", environment, codec())
        await do(home, append_to("a", 1))

        assert home.query("SELECT * FROM item") == []
        await home.close()

    asyncio.run(main())


TOGETHER = """
import asyncio, sys
from pathlib import Path
from tests.conformance.worlds import CountingEnvironment, append_to, codec, do
from finality.adapters.sqlite.store import SqliteHome

async def main():
    for number in range(5):
        path = Path(sys.argv[1]) / f"{number}.db"
        print("ready", flush=True)
        sys.stdin.readline()
        home = SqliteHome(path, CountingEnvironment(is_threaded=True), codec())
        await do(home, append_to(sys.argv[2], 1))
        await home.close()

asyncio.run(main())
"""


@pytest.mark.slow
def test_processes_that_create_one_store_at_once_all_succeed(tmp_path: Path) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", TOGETHER, str(tmp_path), f"s{number}"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(4)
    ]  # fmt: skip
    for _ in range(5):
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
    errors = [child.communicate(timeout=60)[1] for child in children]

    assert [error for error in errors if error] == []
    for number in range(5):
        connection = apsw.Connection(str(tmp_path / f"{number}.db"))
        assert connection.execute("SELECT count(*) FROM finality_event").fetchall() == [(4,)]
        assert connection.execute("SELECT part, version FROM finality_schema").fetchall() == [
            ("store", 1), ("home", 1),
        ]  # fmt: skip
        connection.close()


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
        assert [(r.stream, r.version, r.position) for r in await home.page()] == heard

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
            in_a_fork(lambda: complaint(lambda: home.query("SELECT 1"))),
            in_a_fork(lambda: complaint(home.heads)),
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
        assert [r.stream for r in await home.page()] == ["a", "c"]

    World(SQLITE, tmp_path).run(look)


# ── The write-ahead log ─────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_one_gap_between_readers_lets_the_log_begin_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_engine, "CHECKPOINT_PAGES", 20)
    monkeypatch.setattr(sqlite_engine, "RESTART_PAGES", 60)
    monkeypatch.setattr(sqlite_engine, "RESTART_MILLISECONDS", 1)

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
        assert sizes[19] > 1.8 * sizes[9]
        assert sizes[39] < 1.2 * sizes[20], sizes

    world.run(main)
    check_integrity(world.path)
