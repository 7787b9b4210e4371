"""Kill -9 at the first durable write, at the second, and so on, until a run reaches the end untouched."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from finality.adapters.postgres.home import open_home as open_postgres
from finality.adapters.sqlite.engine import SqliteEngine
from finality.adapters.sqlite.store import SqliteHome
from finality.core.ids import TransactionId
from finality.ports.environment import COMMIT_AFTER, COMMIT_BEFORE
from finality.ports.events import Published
from finality.ports.home import HomeTransaction
from finality.testing import PostgresServer
from tests.conformance.lives import Lives, acknowledge, serve
from tests.conformance.worlds import (
    POSTGRES,
    AnyHome,
    CountingEnvironment,
    World,
    append_to,
    codec,
    do,
    execute,
    placed,
    prepare,
)

GROUPS, GROUP = 2, 4  # What one life of the child writes; small, for it lives once per crash point.


async def live(path: str, dies_at: int, *, is_threaded: bool) -> None:
    """Write business rows, events, witnesses and outbox together; die at a crash point."""
    environment = CountingEnvironment(is_threaded=is_threaded)
    home: AnyHome
    if path.startswith("postgresql://"):
        home = await open_postgres(path, environment, codec())
    else:
        home = SqliteHome(path, environment, codec())
    reached = 0

    def crash(point: str) -> None:
        nonlocal reached
        reached += point in (COMMIT_BEFORE, COMMIT_AFTER)
        if reached == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    environment.crash = crash
    await do(home, execute("CREATE TABLE account (name TEXT PRIMARY KEY, n INTEGER)"))
    await prepare(home, "n1")
    acknowledge("prepared")

    async def one(name: str) -> None:
        await do(home, opened(name))
        acknowledge(name)

    for group in range(GROUPS):
        await asyncio.gather(*(one(f"turn-{group}-{n}") for n in range(GROUP)))
        scope = home.scope(f"scope-{group}")
        await scope.call(opened(f"scope-{group}"))
        await scope.commit()
        acknowledge(f"scope-{group}")
    await home.close()
    acknowledge("closed")


def opened(name: str) -> Callable[[HomeTransaction], None]:
    """Return work that writes a row, two events, a witness and an event for the outbox."""

    def work(tx: HomeTransaction) -> None:
        tx.execute(placed(tx, "INSERT INTO account VALUES (?, 1)"), (name,))
        append_to(name, 1, 2)(tx)
        tx.testify(TransactionId(name), "b", "action", "1")
        tx.publish(Published("accounts", name, "Opened", b"{}"))

    return work


def be_born(path: str, dies_at: str, is_threaded: str, is_lazy: str) -> None:
    """Live, as a child."""
    if is_lazy == "1":
        commit_every_other_time()
    asyncio.run(live(path, int(dies_at), is_threaded=is_threaded == "1"))


def commit_every_other_time() -> None:
    """Plant a mistake: what is acknowledged becomes durable with the next commit only."""
    begin, commit = SqliteEngine.begin, SqliteEngine.commit
    commits = itertools.count()

    def lazy_begin(self: SqliteEngine, *, is_guarded: bool = False) -> None:
        if not self._connection.in_transaction:
            begin(self, is_guarded=is_guarded)

    def lazy_commit(self: SqliteEngine) -> None:
        if next(commits) % 2:
            commit(self)

    setattr(SqliteEngine, "begin", lazy_begin)  # noqa: B010 - mypy refuses a plain assignment
    setattr(SqliteEngine, "commit", lazy_commit)  # noqa: B010


def check_left_behind(path: Path, acknowledged: list[str]) -> None:
    """See that everything acknowledged is there, and nothing half, in a file that is whole."""
    connection = apsw.Connection(str(path))
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    check_whole(World("sqlite-inline", path.parent), acknowledged)


def check_whole(world: World, acknowledged: list[str]) -> None:
    """See that everything acknowledged is there, and nothing half."""
    tables = "pg_tables WHERE tablename" if world.kind == POSTGRES else "sqlite_schema WHERE name"

    async def look(home: AnyHome) -> None:
        if not await home.query(f"SELECT 1 FROM {tables} = 'account'"):
            assert acknowledged == []
            return
        rows = {name for (name,) in await home.query("SELECT name FROM account")}
        events = [(recorded.stream, recorded.version) for recorded in (await home.page()).events]
        witnesses = {id for (id,) in await home.query("SELECT transaction_id FROM finality_witness")}
        published = [key for _, key, _, _ in await world.outbox(home)]

        assert rows >= set(acknowledged) - {"prepared", "closed"}
        assert sorted(events) == sorted((name, version) for name in rows for version in (1, 2))
        assert witnesses == rows
        assert sorted(published) == sorted(rows)
        # What remains to be done can be done now.
        await do(home, execute("INSERT INTO account VALUES ('afterwards', 1)"))

    world.run(look)


@pytest.mark.slow
@pytest.mark.xdist_group("postgres")
def test_so_it_is_on_a_server(tmp_path: Path, finality_postgres: PostgresServer) -> None:
    with Lives("tests.conformance.test_crash") as lives:
        for dies_at in range(1, 100, 2):  # Each life costs a database, so every other death does.
            url = finality_postgres.database()
            code, acknowledged = lives.live(url, dies_at, 1, 0)
            check_whole(World(POSTGRES, tmp_path, url), acknowledged)
            if code == 0:
                assert "closed" in acknowledged
                return
    raise AssertionError("it has never lived to its end")


@pytest.mark.slow
@pytest.mark.parametrize("is_threaded", [True, False], ids=["threaded", "inline"])
def test_what_was_acknowledged_survives_kill_9_and_nothing_is_half_there(
    tmp_path: Path, is_threaded: bool
) -> None:
    with Lives("tests.conformance.test_crash") as lives:
        for dies_at in range(1, 100):
            path = tmp_path / str(dies_at) / "home.db"
            path.parent.mkdir()
            code, acknowledged = lives.live(path, dies_at, int(is_threaded), 0)
            check_left_behind(path, acknowledged)
            if code == 0:
                assert acknowledged[-1] == "closed"
                assert dies_at > 8, "the child has more crash points than that"
                return
    raise AssertionError("the child never reached its end")


if __name__ == "__main__":
    serve(sys.stdin, be_born)
