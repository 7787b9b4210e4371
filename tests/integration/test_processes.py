"""Several processes on one file: killed, paused, drained, rolled, and one that must not fork."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import apsw
import pytest

import finality
from finality.core.saga import events as e
from tests.integration.kit import MovedClock, effects, eventually, put, table, told, url_of, within
from tests.integration.processes import pause, process

pytestmark = pytest.mark.slow

LEASE = timedelta(seconds=0.5)


@dataclass(frozen=True)
class Transfer(finality.Saga):
    """The same as in the text below, so that this process can take it over."""

    n: int

    @finality.step
    def debited(self, tx: finality.SyncTx) -> int:
        put(tx, f"debit {self.n}")
        return self.n

    @debited.compensate
    def undebited(self, tx: finality.SyncTx, debited: int) -> None:
        put(tx, f"-debit {self.n}")

    @finality.step
    async def sent(self, debited: int) -> int:
        return debited

    @finality.step
    async def credited(self, tx: finality.Tx, sent: int) -> int:
        await tx.execute("INSERT INTO effect VALUES (?)", f"credit {self.n}")
        return sent


TRANSFER = """
    @dataclass(frozen=True)
    class Transfer(finality.Saga):
        n: int

        @finality.step
        def debited(self, tx: finality.SyncTx) -> int:
            tx.execute("INSERT INTO effect VALUES (?)", f"debit {self.n}")
            return self.n

        @debited.compensate
        def undebited(self, tx: finality.SyncTx, debited: int) -> None:
            tx.execute("INSERT INTO effect VALUES (?)", f"-debit {self.n}")

        @finality.step
        async def sent(self, debited: int) -> int:
            return await WAIT(self.n)

        @finality.step
        async def credited(self, tx: finality.Tx, sent: int) -> int:
            await tx.execute("INSERT INTO effect VALUES (?)", f"credit {self.n}")
            return sent

    async def for_ever(n):
        mark(f"sent-{n}")
        await asyncio.sleep(3600)

    WAIT = for_ever
"""

STARTS = (
    TRANSFER
    + """
    async def main():
        node = finality.open_async(URL, lease=timedelta(seconds=0.5))
        await node.run(lambda tx: tx.execute("CREATE TABLE effect (what TEXT)"))
        for n in range(20):
            await node.start(Transfer(n), id=f"t{n}")
        mark("ready")
        await node.serve()
        mark("served")

    asyncio.run(main())
"""
)


async def _all_done(node: finality.AsyncNode, count: int) -> None:
    for n in range(count):
        assert await within(node.outcome(f"t{n}")) == finality.COMPLETED
    wanted = sorted(f"{what} {n}" for n in range(count) for what in ("credit", "debit"))
    assert sorted(await effects(node)) == wanted


def test_a_killed_nodes_sagas_are_finished_by_another_within_its_lease(tmp_path: Path) -> None:
    async def main() -> None:
        with process(tmp_path, STARTS) as node:
            await eventually(lambda: node.marked("ready") and node.marked("sent-19"))
            async with finality.open_async(url_of(tmp_path), sagas=[Transfer], lease=LEASE) as other:
                node.send(signal.SIGKILL)
                killed = time.monotonic()
                await _all_done(other, 20)

                assert other.recovered == 20
                assert time.monotonic() - killed < 15
                [taken] = [x for x in await told(other, "t0") if isinstance(x, e.TakenOver)]
                assert taken.by != taken.previous

    asyncio.run(main())


def test_a_node_that_drains_hands_its_sagas_over_at_once(tmp_path: Path) -> None:
    """Its lease is an hour, so only a hand-over lets the other one finish them in time."""

    async def main() -> None:
        code = STARTS.replace("seconds=0.5", "hours=1").replace("serve()", "serve(drain_seconds=0.2)")
        with process(tmp_path, code) as node:
            await eventually(lambda: node.marked("ready") and node.marked("sent-19"))
            async with finality.open_async(url_of(tmp_path), sagas=[Transfer], lease=LEASE) as other:
                node.send(signal.SIGTERM)
                await _all_done(other, 20)
                status, out, err = await asyncio.to_thread(node.end)

                assert (status, out, err) == (0, "", "")
                assert node.marked("served")

    asyncio.run(main())


PAUSED = (
    TRANSFER
    + """
    async def gated(n):
        mark(f"sent-{n}")
        while not (HERE / "go").exists():
            await asyncio.sleep(0.002)
        return n

    WAIT = gated

    async def main():
        async with finality.open_async(URL, lease=timedelta(seconds=0.5)) as node:
            await node.run(lambda tx: tx.execute("CREATE TABLE effect (what TEXT)"))
            await node.start(Transfer(0), id="t0")
            while not (HERE / "woken").exists():
                await asyncio.sleep(0.002)
            # It is still of use: what it starts now, it finishes.
            handle = await node.start(Transfer(1), id="t1")
            assert await handle.outcome() == finality.COMPLETED
            [head] = [head for head in await node.transactions() if head.id == "t1"]
            assert head.driver == (await node.opened()).node
            mark("useful")
            assert await node.outcome("t0") == finality.COMPLETED
            assert (await node.health()).in_flight == 0

    asyncio.run(main())
"""
)


def test_a_node_that_slept_longer_than_its_lease_writes_nothing_of_what_it_lost(tmp_path: Path) -> None:
    """SIGSTOP in the middle of a step; another node takes over and finishes; then it wakes up."""

    async def main() -> None:
        with process(tmp_path, PAUSED) as paused:
            await eventually(lambda: paused.marked("sent-0"))
            await pause(paused)
            async with finality.open_async(url_of(tmp_path), sagas=[Transfer], lease=LEASE) as other:
                assert await within(other.outcome("t0")) == finality.COMPLETED
            # Nobody is left to take over what it starts, should it be late with its lease once more.
            (tmp_path / "go").touch()
            (tmp_path / "woken").touch()
            paused.send(signal.SIGCONT)
            await eventually(lambda: paused.marked("useful"))
            status, _, err = await asyncio.to_thread(paused.end)

            assert status == 0, err
            async with finality.open_async(url_of(tmp_path), is_observer=True) as web:
                assert sorted(await effects(web)) == ["credit 0", "credit 1", "debit 0", "debit 1"]
                [taken] = [x for x in await told(web, "t0") if isinstance(x, e.TakenOver)]
                after = (await told(web, "t0")).index(taken)
                writers = {recorded.by for recorded in (await web.history("t0"))[after:]}
                assert writers == {taken.by}

    asyncio.run(main())


HOLDS = """
    import apsw
    connection = apsw.Connection(str(HERE / "home.db"))
    connection.set_busy_timeout(10_000)
    connection.execute("BEGIN IMMEDIATE")
    mark("held")
    wait_for("release")
    connection.execute("COMMIT")
"""


async def _renewals_missed(node: finality.AsyncNode) -> bool:
    """Wait until the node's own lease is over, because it could not renew it."""
    return bool(await eventually(lambda: _is_over(node)))


async def _is_over(node: finality.AsyncNode) -> bool:
    return all(row.lease_until < time.time() for row in await node.nodes())


def test_nothing_is_lost_while_another_process_holds_the_write_lock(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path), lease=LEASE) as node:
            await table(node)
            with process(tmp_path, HOLDS) as holder:
                await eventually(lambda: holder.marked("held"))
                starts = [asyncio.ensure_future(node.start(Transfer(n), id=f"t{n}")) for n in range(10)]
                assert await _renewals_missed(node)
                assert not any(start.done() for start in starts)
                (tmp_path / "release").touch()
                await within(asyncio.gather(*starts))
                await _all_done(node, 10)

    asyncio.run(main())


@pytest.mark.parametrize("point", ["commit.before", "commit.after", "step.before", "step.after"])
def test_a_node_that_dies_at_any_point_leaves_one_effect_of_each_step(tmp_path: Path, point: str) -> None:
    """It is killed at the 1st, 2nd, … passing of the point, until one run reaches the end."""

    async def main() -> None:
        for times in range(1, 30):
            folder = tmp_path / f"{times}"
            folder.mkdir()
            code = (
                TRANSFER
                + """
    async def at_once(n):
        return n

    WAIT = at_once

    async def main():
        environment = Dying(sys.argv[2], int(sys.argv[3]))
        async with finality.open_async(URL, environment=environment) as node:
            await node.run(lambda tx: tx.execute("CREATE TABLE IF NOT EXISTS effect (what TEXT)"))
            environment.is_armed = True
            handle = await node.start(Transfer(0), id="t0")
            assert await handle.outcome() == finality.COMPLETED

    asyncio.run(main())
"""
            )
            with process(folder, code, point, str(times)) as node:
                status, _, err = await asyncio.to_thread(node.end)
            assert status in (0, -signal.SIGKILL), err
            async with finality.open_async(
                url_of(folder), sagas=[Transfer], lease=LEASE, environment=_later()
            ) as other:
                await table(other)
                handle = await other.start(Transfer(0), id="t0")
                assert await within(handle.outcome()) == finality.COMPLETED
                assert sorted(await effects(other)) == ["credit 0", "debit 0"]
            if status == 0:
                assert times > 2
                return
        raise AssertionError("it never came to its end")

    asyncio.run(main())


def _later() -> MovedClock:
    clock = MovedClock()
    clock.move(minutes=1)  # The dead node's lease has ended.
    return clock


ROLLING = (
    TRANSFER
    + """
    async def at_once(n):
        await asyncio.sleep(0.005)
        return n

    WAIT = at_once

    async def main():
        node = finality.open_async(URL, sagas=[Transfer], lease=timedelta(seconds=5))
        await node.opened()
        mark(sys.argv[2])
        await node.serve()

    asyncio.run(main())
"""
)


def test_a_rolling_restart_loses_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path), is_observer=True) as web:
            await table(web)
            with process(tmp_path, ROLLING, "one") as one, process(tmp_path, ROLLING, "two") as two:
                await eventually(lambda: one.marked("one") and two.marked("two"))
                for n in range(100):
                    await web.start(Transfer(n), id=f"t{n}")
                one.send(signal.SIGTERM)
                with process(tmp_path, ROLLING, "three") as three:
                    await eventually(lambda: three.marked("three"))
                    two.send(signal.SIGTERM)
                    await _all_done(web, 100)
                    assert [await asyncio.to_thread(node.end) for node in (one, two)] == [(0, "", "")] * 2

    asyncio.run(main())


def test_the_same_id_started_by_two_processes_at_once_is_one_saga(tmp_path: Path) -> None:
    code = (
        TRANSFER
        + """
    async def at_once(n):
        return n

    WAIT = at_once

    async def main():
        async with finality.open_async(URL) as node:
            mark(sys.argv[2])
            wait_for("go")
            for n in range(50):
                handle = await node.start(Transfer(n), id=f"t{n}")
                assert await handle.outcome() == finality.COMPLETED

    asyncio.run(main())
"""
    )

    async def main() -> None:
        async with finality.open_async(url_of(tmp_path), is_observer=True) as web:
            await table(web)
            with process(tmp_path, code, "one") as one, process(tmp_path, code, "two") as two:
                await eventually(lambda: one.marked("one") and two.marked("two"))
                (tmp_path / "go").touch()
                assert [await asyncio.to_thread(node.end) for node in (one, two)] == [(0, "", "")] * 2
            await _all_done(web, 50)

    asyncio.run(main())


def test_the_store_is_whole_after_all_of_this(tmp_path: Path) -> None:
    """Killed in the middle of a thousand commits, the file is still a good database."""

    async def main() -> None:
        code = (
            TRANSFER
            + """
    async def at_once(n):
        return n

    WAIT = at_once

    async def main():
        node = finality.open_async(URL)
        await node.run(lambda tx: tx.execute("CREATE TABLE IF NOT EXISTS effect (what TEXT)"))
        mark("ready")
        n = 0
        while True:
            await node.start(Transfer(n))
            n += 1
            if n == 200:
                mark("many")

    asyncio.run(main())
"""
        )
        with process(tmp_path, code) as node:
            await eventually(lambda: node.marked("many"))
            node.send(signal.SIGKILL)
            await asyncio.to_thread(node.end)
        connection = apsw.Connection(str(tmp_path / "home.db"))
        assert connection.pragma("integrity_check") == "ok"
        connection.close()

    asyncio.run(main())
