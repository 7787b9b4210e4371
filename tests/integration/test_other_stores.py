"""Steps at another store: its witness makes one effect of every repetition, crash and late arrival."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import finality
from finality.core.saga import events as e
from tests.integration.kit import MovedClock, effects, put, table, told, url_of, within
from tests.integration.processes import process

ONCE = finality.Retry(attempts=1)
QUICK = finality.Retry(attempts=3, first_seconds=0.001, cap_seconds=0.002)
CALLS: list[str] = []


@dataclass(frozen=True)
class Transfer(finality.Saga):
    how: str = ""

    @finality.step(at="bank", retry=QUICK)
    def debited(self, tx: finality.SyncTx) -> int:
        CALLS.append("debited")
        put(tx, "debit")
        if self.how == "debit refused":
            raise finality.Refused("poor")
        if self.how == "debit fails" and CALLS.count("debited") < 3:
            raise ConnectionError("once more")
        return 10

    @debited.compensate
    def undebited(self, tx: finality.SyncTx, debited: int) -> None:
        put(tx, f"-debit {debited}")

    @finality.step(at="mail", retry=QUICK)
    async def mailed(self, tx: finality.Tx, debited: int) -> str:
        CALLS.append("mailed")
        await tx.execute("INSERT INTO effect VALUES ('mail')")
        if self.how == "mail refused":
            raise finality.Refused("no address")
        if self.how == "mail fails" and CALLS.count("mailed") < 3:
            raise ConnectionError("once more")
        return "mailed"

    @mailed.compensate
    async def unmailed(self, tx: finality.Tx, mailed: str) -> None:
        await tx.execute("INSERT INTO effect VALUES (?)", f"-{mailed}")

    @finality.step
    def closed(self, tx: finality.SyncTx, mailed: str) -> str:
        if self.how == "end refused":
            raise finality.Refused("the end")
        return "closed"


def open_with(folder: Path, **settings: Any) -> finality.AsyncNode:
    stores = {name: url_of(folder, name) for name in ("bank", "mail")}
    return finality.open_async(url_of(folder), stores=stores, sagas=[Transfer], **settings)


async def tables(node: finality.AsyncNode) -> None:
    for at in ("bank", "mail", None):
        await table(node, at)


@pytest.mark.parametrize(
    "how, bank, mail",
    [
        ("", ["debit"], ["mail"]),
        ("debit refused", [], []),
        ("mail refused", ["debit", "-debit 10"], []),
        ("end refused", ["debit", "-debit 10"], ["mail", "-mailed"]),
        ("debit fails", ["debit"], ["mail"]),
        ("mail fails", ["debit"], ["mail"]),
    ],
)
def test_steps_work_and_are_undone_in_their_own_stores(
    tmp_path: Path, how: str, bank: list[str], mail: list[str]
) -> None:
    async def main() -> None:
        CALLS.clear()
        async with open_with(tmp_path) as node:
            await tables(node)
            outcome = await within((await node.start(Transfer(how), id="t")).outcome())

            assert outcome == (finality.COMPENSATED if "refused" in how else finality.COMPLETED)
            assert (await effects(node, "bank"), await effects(node, "mail")) == (bank, mail)

    asyncio.run(main())


DYING = """
    @dataclass(frozen=True)
    class Transfer(finality.Saga):
        how: str = ""

        @finality.step(at="bank", retry=finality.Retry(attempts=3, first_seconds=0.001, cap_seconds=0.002))
        def debited(self, tx: finality.SyncTx) -> int:
            tx.execute("INSERT INTO effect VALUES ('debit')")
            return 10

        @debited.compensate
        def undebited(self, tx: finality.SyncTx, debited: int) -> None:
            tx.execute("INSERT INTO effect VALUES (?)", f"-debit {debited}")

        @finality.step(at="mail", retry=finality.Retry(attempts=3, first_seconds=0.001, cap_seconds=0.002))
        async def mailed(self, tx: finality.Tx, debited: int) -> str:
            await tx.execute("INSERT INTO effect VALUES ('mail')")
            return "mailed"

        @mailed.compensate
        async def unmailed(self, tx: finality.Tx, mailed: str) -> None:
            await tx.execute("INSERT INTO effect VALUES (?)", f"-{mailed}")

        @finality.step
        def closed(self, tx: finality.SyncTx, mailed: str) -> str:
            if self.how == "end refused":
                raise finality.Refused("the end")
            return "closed"

    async def main():
        environment = Dying(sys.argv[2], int(sys.argv[3]))
        stores = {name: f"sqlite:///{HERE}/{name}.db" for name in ("bank", "mail")}
        async with finality.open_async(URL, environment=environment, stores=stores) as node:
            for at in ("bank", "mail"):
                await node.run(lambda tx: tx.execute("CREATE TABLE IF NOT EXISTS effect (what TEXT)"), at=at)
            environment.is_armed = True
            handle = await node.start(Transfer(sys.argv[4]), id="t")
            await handle.outcome()

    asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["", "end refused"])
@pytest.mark.parametrize("point", ["commit.after", "step.after", "compensation.before", "compensation.after"])
def test_a_crash_between_the_effect_and_the_journal_leaves_one_effect(
    tmp_path: Path, point: str, how: str
) -> None:
    """Killed at the 1st, 2nd, … passing of the point; whoever takes over asks again, and is told."""

    async def main() -> None:
        for times in range(1, 40):
            folder = tmp_path / f"{times}"
            folder.mkdir()
            with process(folder, DYING, point, str(times), how) as node:
                status, _, err = await asyncio.to_thread(node.end)
            assert status in (0, -signal.SIGKILL), err
            clock = MovedClock()
            clock.move(minutes=1)  # The dead node's lease has ended.
            async with open_with(folder, environment=clock) as other:
                await tables(other)
                outcome = await within((await other.start(Transfer(how), id="t")).outcome())
                if how:
                    assert outcome == finality.COMPENSATED
                    assert await effects(other, "bank") == ["debit", "-debit 10"]
                    assert await effects(other, "mail") == ["mail", "-mailed"]
                else:
                    assert outcome == finality.COMPLETED
                    assert await effects(other, "bank") == ["debit"]
                    assert await effects(other, "mail") == ["mail"]
            if status == 0:
                has_died = times > 1
                assert has_died or (point.startswith("compensation") and not how)
                return
        raise AssertionError("it never came to its end")

    asyncio.run(main())


# ── An answer that was lost, and an action that comes late ──────────────────────────────────

GATE: list[asyncio.Event] = []


@dataclass(frozen=True)
class Slow(finality.Saga):
    @finality.step(at="bank")
    async def held(self, tx: finality.Tx) -> str:
        GATE[0].set()
        await GATE[1].wait()  # Before its first statement, so that it holds no write turn.
        await tx.execute("INSERT INTO effect VALUES ('held')")
        return "held"

    @held.compensate
    async def released(self, tx: finality.Tx, held: str) -> None:
        await tx.execute("INSERT INTO effect VALUES ('released')")


@pytest.mark.slow
def test_an_action_that_comes_after_its_compensation_has_no_effect(tmp_path: Path) -> None:
    """Node one is in the middle of the step when its lease is over; node two undoes the saga first."""

    async def main() -> None:
        GATE[:] = [asyncio.Event(), asyncio.Event()]
        clock, lease = MovedClock(), timedelta(hours=1)
        stores = {"bank": url_of(tmp_path, "bank")}
        one = finality.open_async(url_of(tmp_path), stores=stores, lease=lease)
        await table(one, "bank")
        await one.start(Slow(), id="s")
        await within(GATE[0].wait())
        clock.move(hours=2)
        async with finality.open_async(
            url_of(tmp_path), stores=stores, sagas=[Slow], environment=clock, lease=lease
        ) as two:
            await two.cancel("s", because="ill")
            assert await within(two.outcome("s")) == finality.COMPENSATED
            assert await effects(two, "bank") == []
            assert [x.step for x in await told(two, "s") if isinstance(x, e.StepLost)] == ["held"]
            GATE[1].set()
            await within(one.close())
            assert await effects(two, "bank") == []

    asyncio.run(main())


@dataclass(frozen=True)
class Swallows(finality.Saga):
    @finality.step(at="bank", retry=QUICK)
    async def noted(self, tx: finality.Tx) -> str:
        CALLS.append("begun")
        try:
            await tx.execute("INSERT INTO effect VALUES ('noted')")
        except Exception:
            CALLS.append("swallowed")
        CALLS.append("went on")
        return "noted"


@pytest.mark.slow
def test_an_async_step_that_is_asked_again_ends_at_its_first_statement(tmp_path: Path) -> None:
    """The process died after the effect; what was answered then is the answer, whatever is caught."""

    async def main() -> None:
        CALLS.clear()
        code = """
    @dataclass(frozen=True)
    class Swallows(finality.Saga):
        @finality.step(at="bank", retry=finality.Retry(attempts=3, first_seconds=0.001, cap_seconds=0.002))
        async def noted(self, tx: finality.Tx) -> str:
            await tx.execute("INSERT INTO effect VALUES ('noted')")
            return "noted before"

    async def main():
        async with finality.open_async(URL, stores={"bank": f"sqlite:///{HERE}/bank.db"}) as node:
            await node.run(lambda tx: tx.execute("CREATE TABLE effect (what TEXT)"), at="bank")
            bank = (await node.opened()).stores["bank"]
            commit = bank._writer.batches.commit

            def dying():
                commit()
                os.kill(os.getpid(), signal.SIGKILL)

            bank._writer.batches.commit = dying
            await (await node.start(Swallows(), id="s")).outcome()

    asyncio.run(main())
"""
        with process(tmp_path, code) as node:
            status, _, err = await asyncio.to_thread(node.end)
        assert status == -signal.SIGKILL, err
        clock = MovedClock()
        clock.move(minutes=1)
        stores = {"bank": url_of(tmp_path, "bank")}
        async with finality.open_async(
            url_of(tmp_path), stores=stores, sagas=[Swallows], environment=clock
        ) as other:
            assert (await within(other.outcome("s"))).result == "noted before"
            assert await effects(other, "bank") == ["noted"]
            assert CALLS == ["begun"]

    asyncio.run(main())


@dataclass(frozen=True)
class Empty(finality.Saga):
    @finality.step(at="bank", retry=ONCE)
    def failing(self, tx: finality.SyncTx) -> str:
        put(tx, "half")
        raise ConnectionError("gone")

    @failing.compensate
    def undone(self, tx: finality.SyncTx, failing: str) -> None:
        put(tx, "undone")


def test_a_compensation_of_what_never_took_effect_does_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        stores = {"bank": url_of(tmp_path, "bank")}
        async with finality.open_async(url_of(tmp_path), stores=stores) as node:
            await table(node, "bank")
            outcome = await within((await node.start(Empty(), id="x")).outcome())

            assert outcome.because == "ConnectionError: gone"
            assert await effects(node, "bank") == []

    asyncio.run(main())


# ── The write turn ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Polite(finality.Saga):
    @finality.step
    async def called(self, tx: finality.Tx) -> str:
        GATE[0].set()
        await GATE[1].wait()
        await tx.execute("INSERT INTO effect VALUES ('called')")
        return "called"


def test_an_async_step_that_calls_before_its_first_statement_holds_nobody_up(tmp_path: Path) -> None:
    async def main() -> None:
        GATE[:] = [asyncio.Event(), asyncio.Event()]
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            handle = await node.start(Polite())
            await within(GATE[0].wait())
            async with node.transaction() as tx:
                await tx.execute("INSERT INTO effect VALUES ('meanwhile')")
            GATE[1].set()
            await within(handle.outcome())

            assert await effects(node) == ["meanwhile", "called"]

    asyncio.run(main())


@dataclass(frozen=True)
class Slowly(finality.Saga):
    @finality.step
    def slow(self, tx: finality.SyncTx) -> int:
        give_up = time.monotonic() + 0.12
        return sum(1 for _ in iter(lambda: time.monotonic() < give_up, False))  # Busy, as a slow query is.


def test_a_step_that_holds_the_store_for_long_is_reported_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            await within((await node.start(Slowly(), id="s")).outcome())
            [(name, seconds)] = (await node.health()).slowest_turns.values()

            assert name == "step 'slow' of saga Slowly s"
            assert seconds > 0.1
        assert "step 'slow' of saga Slowly s held the write turn" in caplog.text

    asyncio.run(main())


@dataclass(frozen=True)
class Neighbour(finality.Saga):
    n: int

    @finality.step(retry=ONCE)
    def counted(self, tx: finality.SyncTx) -> int:
        put(tx, f"{self.n}")
        if self.n % 3 == 0:
            raise finality.Refused("a third")
        return self.n


def test_steps_share_a_commit_and_one_that_fails_does_not_hurt_its_neighbours(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            home = (await node.opened()).home
            batches = home._writer.batches  # type: ignore[attr-defined]  # counts its commits
            commits, commit = [0], batches.commit

            def counted() -> None:
                commits[0] += 1
                commit()

            batches.commit = counted
            handles = await asyncio.gather(*(node.start(Neighbour(n)) for n in range(60)))
            outcomes = await within(asyncio.gather(*(handle.outcome() for handle in handles)))

            wanted = [finality.COMPENSATED if n % 3 == 0 else finality.COMPLETED for n in range(60)]
            assert [outcome.status for outcome in outcomes] == wanted
            assert sorted(map(int, await effects(node))) == [n for n in range(60) if n % 3]
            assert commits[0] < 60

    asyncio.run(main())
