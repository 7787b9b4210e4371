"""The schema of a SQLite store: newer, older, and made by several processes at once."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from finality.adapters.sqlite import store as sqlite_store
from finality.adapters.sqlite.connection import connect
from finality.adapters.sqlite.schema import HOME, STORE, migrate, migrations, version_of
from finality.adapters.sqlite.store import SqliteHome
from finality.core.errors import SchemaMismatch
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
    execute,
)
from tests.integration.sqlite_files import opening
from tests.tidy.rules import ROOT


@pytest.fixture(params=[SQLITE, SQLITE_INLINE])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(request.param, tmp_path)


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
        assert (await home.query("SELECT a, b FROM news")).one() == (1, 2)
        assert len((await home.page()).events) == 1

    world.run(write)
    newer = migrations(STORE, HOME)
    newer["store"] |= {
        98: "CREATE TABLE news (a); INSERT INTO news VALUES (1);",
        99: "ALTER TABLE news ADD COLUMN b DEFAULT 2;",
    }
    monkeypatch.setattr(sqlite_store, "migrations", lambda *names: newer)
    world.run(look)
    world.run(look)


def test_a_migration_that_fails_leaves_the_old_schema(tmp_path: Path) -> None:
    connection = connect(tmp_path / "home.db")
    migrate(connection, migrations(STORE, HOME))
    before = version_of(connection, "store"), version_of(connection, "home")
    newer = migrations(STORE, HOME)
    newer["store"][99] = "CREATE TABLE news (a);"
    newer["home"][99] = "CREATE TABLE news (a);"
    with pytest.raises(apsw.SQLError, match="already exists"):
        migrate(connection, newer)

    assert (version_of(connection, "store"), version_of(connection, "home")) == before
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

        assert await home.query("SELECT * FROM item") == []
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
            (part, max(scripts)) for part, scripts in migrations(STORE, HOME).items()
        ]  # fmt: skip
        connection.close()
