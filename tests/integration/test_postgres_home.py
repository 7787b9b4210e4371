"""PostgreSQL as a home: what servers, connections and nodes that die leave behind, and followers."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import finality
from finality.adapters.postgres.home import PostgresHome, open_home
from finality.adapters.postgres.line import Line
from finality.adapters.system.environment import SystemEnvironment
from finality.core.errors import VersionConflict
from finality.core.ids import START, Cursor, StreamName, Version
from finality.core.protocol import Recorded
from finality.ports.home import HomeTransaction
from finality.testing import PostgresServer, postgres
from tests.conformance.worlds import Noted, append_to, codec, do_all, execute
from tests.conformance.worlds import do as turn
from tests.tidy.rules import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("postgres"), pytest.mark.timeout(120)]

LEASE = timedelta(seconds=1)
DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@dataclass(frozen=True)
class Transfer(finality.Saga):
    """Moves a dollar, and says so."""

    number: int

    @finality.step
    def taken(self, tx: finality.SyncTx) -> int:
        tx.execute("UPDATE account SET dollars = dollars - 1 WHERE name = 'a'")
        return 1

    @taken.compensate
    def given_back(self, tx: finality.SyncTx, taken: int) -> None:
        tx.execute("UPDATE account SET dollars = dollars + $1 WHERE name = 'a'", taken)

    @finality.step
    async def banked(self, tx: finality.Tx, taken: int) -> int:
        await tx.execute("UPDATE account SET dollars = dollars + $1 WHERE name = 'b'", taken)
        return taken

    @finality.step
    def told(self, tx: finality.SyncTx, banked: int) -> None:
        tx.execute("INSERT INTO told VALUES ($1)", self.number)


async def accounts(node: finality.AsyncNode) -> None:
    for sql in (
        "CREATE TABLE account (name text PRIMARY KEY, dollars int)",
        "INSERT INTO account VALUES ('a', 100), ('b', 0)",
        "CREATE TABLE told (number int)",
    ):
        await node.run(lambda tx, sql=sql: tx.execute(sql))  # type: ignore[misc]  # mypy infers no default


async def check_transfers(node: finality.AsyncNode, count: int) -> None:
    outcomes = await asyncio.gather(*(node.outcome(f"t{n}") for n in range(count)))

    assert {outcome.status for outcome in outcomes} == {finality.COMPLETED}
    assert await node.query("SELECT dollars FROM account ORDER BY name") == [(100 - count,), (count,)]

    assert sorted(await node.query("SELECT number FROM told")) == [(n,) for n in range(count)]


async def insist(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Ask until somebody answers."""
    while True:
        try:
            return await work()
        except (finality.Unavailable, finality.OutcomeUnknown):
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("bin", [None, *DEBIAN], ids=str)
def test_a_server_that_is_killed_in_the_middle_of_sagas_loses_and_doubles_nothing(bin: Path | None) -> None:
    async def main(server: PostgresServer) -> None:
        async with finality.open_async(server.database("home"), sagas=[Transfer], lease=LEASE) as node:
            await accounts(node)

            async def start(n: int) -> None:
                await insist(lambda: node.start(Transfer(n), id=f"t{n}"))

            for first in (0, 20, 40):
                started = [asyncio.ensure_future(start(n)) for n in range(first, first + 20)]
                await asyncio.sleep(0.02)
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
                await asyncio.gather(*started)
            async with asyncio.timeout(60):
                await check_transfers(node, 60)

    with postgres(bin=bin) as server:
        asyncio.run(main(server))


def test_a_connection_that_is_cut_around_the_commit_tells_what_became_of_it(
    finality_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit is lost on its way, or its answer is on the way back."""
    tell, cuts = Line.tell, ["before", "after"] * 5

    def tell_and_cut(line: Line, sql: str) -> str:
        where = cuts.pop(0) if sql == "COMMIT" and cuts else ""
        if where == "before":
            line._connection.terminate()
        tag = tell(line, sql)
        if where == "after":
            line._connection.terminate()
            raise asyncpg.ConnectionDoesNotExistError("the answer was lost: the test says so")
        return tag

    async def main(home: PostgresHome) -> None:
        await turn(home, execute("CREATE TABLE item (n int)"))
        monkeypatch.setattr(Line, "tell", tell_and_cut)
        outcomes = []
        for n in range(10):
            try:
                await turn(home, execute("INSERT INTO item VALUES (?)", n))
            except finality.Unavailable:
                outcomes.append("nothing was written")
            else:
                outcomes.append("written")

        assert outcomes == ["nothing was written", "written"] * 5
        assert await home.query("SELECT n FROM item ORDER BY n") == [(n,) for n in range(1, 10, 2)]

    with_home(finality_postgres, main)


def test_an_append_that_is_cut_around_its_commit_is_made_once(
    finality_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is one statement; what was lost with it is sent again, and what was only not answered is not."""
    send, answer, cuts = Line.send, Line.answer, ["before", "after"] * 3

    def send_and_cut(line: Line, sql: str, *parameters: Any) -> None:
        send(line, sql, *parameters)
        if cuts and cuts[0] == "before":
            line._connection.terminate()

    def answer_and_cut(line: Line) -> Any:
        where = cuts.pop(0) if cuts else ""
        rows = answer(line)
        if where == "after":
            line._connection.terminate()
            raise asyncpg.ConnectionDoesNotExistError("the answer was lost: the test says so")
        return rows

    async def main(home: PostgresHome) -> None:
        await home.append(StreamName("s"), [Noted(0)], expected=Version(0))  # It has keys from now on.
        monkeypatch.setattr(Line, "send", send_and_cut)
        monkeypatch.setattr(Line, "answer", answer_and_cut)
        for n in range(1, 12):
            await home.append(StreamName(f"s{n}"), [Noted(n)], expected=Version(0))

        assert not cuts
        assert [item.event for item in (await home.page()).events] == [Noted(n) for n in range(12)]

    with_home(finality_postgres, main)


def test_what_ran_while_an_append_was_refused_runs_again(finality_postgres: PostgresServer) -> None:
    overlapped: dict[int, list[bool]] = defaultdict(list)
    has_begun, gate = threading.Event(), threading.Event()

    async def main(home: PostgresHome) -> None:
        def counted(n: int) -> Callable[[HomeTransaction], Any]:
            def append(tx: HomeTransaction) -> Any:
                overlapped[n].append(home._line.is_sending)
                return tx.append_to(StreamName(f"s{n}"), [Noted(n)], expected=Version(0))

            return append

        def hold(_: HomeTransaction) -> None:
            has_begun.set()
            gate.wait()

        other = await open_home(home.url, SystemEnvironment(), codec())
        await other.append(StreamName("s1"), [Noted(-1)], expected=Version(0))
        await other.close()
        for n in (-1, 0):  # It has keys by then, and has seen that batches may overlap.
            await turn(home, counted(n))
        held = asyncio.ensure_future(turn(home, hold))
        await asyncio.to_thread(has_begun.wait)
        turns = asyncio.ensure_future(do_all(home, *map(counted, range(1, 201))))
        await asyncio.sleep(0)
        gate.set()
        await held

        assert [type(answer) for answer in await turns] == [VersionConflict] + [int] * 199
        assert await home.query("SELECT count(*), count(DISTINCT stream) FROM finality_event") == [(202, 202)]
        ran_again = [each for each in overlapped.values() if len(each) > 1 and each[0]]
        assert ran_again, "some ran while the refused one was under way"

    with_home(finality_postgres, main)


def test_a_turn_that_ran_alone_once_may_be_under_way_while_others_follow(
    finality_postgres: PostgresServer,
) -> None:
    async def main(home: PostgresHome) -> None:
        def cuts_the_line_once(tx: HomeTransaction) -> Any:
            if not cuts:
                cuts.append(True)
                tx.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            return append_to("s1", 1)(tx)

        cuts: list[bool] = []
        await turn(home, append_to("s0", 0))  # It has keys by then, so that an append is all of a commit.

        assert await do_all(home, cuts_the_line_once, append_to("s2", 2), append_to("s3", 3)) == [1] * 3

    with_home(finality_postgres, main)


def with_home(server: PostgresServer, main: Callable[[PostgresHome], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        home = await open_home(server.database(), SystemEnvironment(), codec())
        try:
            async with asyncio.timeout(60):
                await main(home)
        finally:
            await home.close()

    asyncio.run(run())


NODE = """
import asyncio, sys, finality
from datetime import timedelta
from pathlib import Path
from tests.integration.test_postgres_home import Transfer
async def main():
    async with finality.open_async(sys.argv[1], sagas=[Transfer], lease=timedelta(seconds=1)) as node:
        first, last = int(sys.argv[2]), int(sys.argv[3])
        for n in range(first, last):
            await node.start(Transfer(n), id=f"t{n}")
            print(n, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


def test_another_node_finishes_what_a_killed_one_has_begun(finality_postgres: PostgresServer) -> None:
    async def main() -> None:
        url = finality_postgres.database()
        async with finality.open_async(url, sagas=[Transfer], lease=LEASE) as node:
            await accounts(node)
            other = await asyncio.create_subprocess_exec(
                sys.executable, "-c", NODE, url, "0", "30", cwd=ROOT, stdout=asyncio.subprocess.PIPE
            )
            assert other.stdout is not None
            for n in range(30, 60):
                await node.start(Transfer(n), id=f"t{n}")
            for _ in range(15):
                assert await other.stdout.readline()
            other.kill()
            await other.wait()
            for n in range(30):  # Whoever does not know whether it was started asks again.
                await node.start(Transfer(n), id=f"t{n}")
            async with asyncio.timeout(60):
                await check_transfers(node, 60)

    asyncio.run(main())


def test_nodes_are_replaced_one_after_another_and_nothing_is_lost(finality_postgres: PostgresServer) -> None:
    """A rolling restart, while sagas are started all the time."""

    async def main() -> None:
        url = finality_postgres.database()
        nodes = [finality.open_async(url, sagas=[Transfer], lease=LEASE) for _ in range(2)]
        await accounts(nodes[0])
        for n in range(40):
            if n % 10 == 9:
                closing = nodes.pop(0)
                nodes.append(finality.open_async(url, sagas=[Transfer], lease=LEASE))
                await asyncio.gather(closing.close(), nodes[0].start(Transfer(n), id=f"t{n}"))
            else:
                await nodes[n % 2].start(Transfer(n), id=f"t{n}")
        async with asyncio.timeout(60):
            await check_transfers(nodes[0], 40)
        for node in nodes:
            await node.close()

    asyncio.run(main())


# ── Followers ───────────────────────────────────────────────────────────────────────────────


async def committer(url: str, number: int, dice: random.Random) -> int:
    """Append to random streams in transactions that take their time; some are prepared, some aborted."""
    connection = await asyncpg.connect(url)
    kept = 0
    try:
        for round in range(15):
            name, end = f"c{number}-{round}", dice.random()
            await connection.execute("BEGIN")
            for stream in sorted(dice.choices(range(4), k=1 + dice.randrange(3))):  # In order: no deadlock.
                await connection.execute(APPEND, f"s{stream}")
                await asyncio.sleep(dice.random() * 0.01)
                kept += end >= 0.2
            if end < 0.2:
                await connection.execute("ROLLBACK")
            elif end < 0.6:
                await connection.execute("COMMIT")
            else:
                await connection.execute(f"PREPARE TRANSACTION '{name}'")
                await asyncio.sleep(dice.random() * 0.1)
                await connection.execute(f"COMMIT PREPARED '{name}'")
    finally:
        await connection.close()
    return kept


APPEND = """
WITH moved AS (UPDATE finality_stream SET version = version + 1 WHERE name = $1 RETURNING stream, version)
INSERT INTO finality_event (stream, version, type, data, at, node)
SELECT stream, version, 'test.Noted', '{"value":1}', 0, 0 FROM moved
"""


@pytest.mark.parametrize("seed", range(2))
def test_a_follower_gets_everything_once_and_each_stream_in_order(
    finality_postgres: PostgresServer, seed: int
) -> None:
    """Whatever commits late, whatever stays in doubt; and that stays in doubt holds up nobody."""
    dice = random.Random(seed)

    async def main(home: PostgresHome) -> None:
        for n in range(4):
            await home.append(StreamName(f"s{n}"), [Noted(0)], expected=Version(0))
        doubtful = await asyncpg.connect(home.url)
        await doubtful.execute("CREATE TABLE other (n int)")
        await doubtful.execute("BEGIN")
        await doubtful.execute("INSERT INTO other VALUES (1)")
        await doubtful.execute("PREPARE TRANSACTION 'in doubt'")
        cursors: list[Cursor] = []
        heard: list[Recorded] = []
        committers = asyncio.gather(*(committer(home.url, n, random.Random(seed * 10 + n)) for n in range(4)))
        cursor, is_last = START, False
        while not is_last:
            is_last = committers.done()
            page = await home.page(after=cursor, limit=1 + dice.randrange(8))
            while page.events:
                heard += page.events
                cursors.append(page.cursor)
                page = await home.page(after=page.cursor, limit=1 + dice.randrange(8))
            cursor = page.cursor
            await asyncio.sleep(dice.random() * 0.02)
        await doubtful.execute("ROLLBACK PREPARED 'in doubt'")
        await doubtful.close()

        assert len(heard) == sum(await committers) + 4
        assert len({r.position for r in heard}) == len(heard)
        for n in range(4):
            versions = [r.version for r in heard if r.stream == f"s{n}"]
            assert versions == list(range(1, len(versions) + 1))
        assert all("/" in cursor for cursor in cursors)

    with_home(finality_postgres, main)


def test_a_cursor_of_another_cluster_is_refused(finality_postgres: PostgresServer) -> None:
    async def main(home: PostgresHome) -> None:
        await home.append(StreamName("s"), [Noted(1)], expected=Version(0))
        page = await home.page()
        mine = page.cursor.split("/")

        with pytest.raises(finality.NotFound, match="counts its transactions anew"):
            await home.page(after=Cursor("/".join(["1", *mine[1:]])))
        with pytest.raises(finality.NotFound, match="no cursor of this store"):
            await home.page(after=Cursor("x"))
        assert (await home.page(after=Cursor(str(page.events[0].position - 1)))).events == page.events

    with_home(finality_postgres, main)
