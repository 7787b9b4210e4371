"""A node's life: opened by many threads, in a loop, not at all, closed twice, used after its end."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

import finality
from finality.adapters.sqlite import store as sqlite_store
from finality.adapters.system.end_signals import heard
from tests.integration.kit import eventually, names, url_of, within


@dataclass(frozen=True)
class Hello(finality.Saga):
    name: str = "you"

    @finality.step
    def said(self, tx: finality.SyncTx) -> str:
        return f"hello {self.name}"


@pytest.fixture
def finality_threads() -> Callable[[], set[str]]:
    """Return what names our threads that keep something open, but for those of tests before this one.

    Idle ones for steps end by themselves.
    """
    before = set(threading.enumerate())

    def names() -> set[str]:
        new = [thread.name for thread in threading.enumerate() if thread not in before]
        return {name for name in new if name.startswith("finality") and name != "finality step"}

    return names


@pytest.mark.slow
def test_many_threads_open_nodes_of_their_own_and_share_one(
    tmp_path: Path, finality_threads: Callable[[], set[str]]
) -> None:
    url = url_of(tmp_path)
    with finality.open(url) as shared, ThreadPoolExecutor(8) as threads:

        def work(number: int) -> list[str]:
            with finality.open(url) as own:
                mine = own.start(Hello(f"own {number}"), id=f"own-{number}").result(timeout=20)
            return [mine, shared.start(Hello(f"{number}"), id=f"shared-{number}").result(timeout=20)]

        answers = list(threads.map(work, range(8)))

        assert answers == [[f"hello own {number}", f"hello {number}"] for number in range(8)]
        assert len(shared.transactions(status="completed")) == 16
    assert finality_threads() == set()


def test_a_synchronous_node_works_inside_a_running_loop(tmp_path: Path) -> None:
    async def main() -> None:
        with finality.open(url_of(tmp_path)) as node:
            assert node.start(Hello()).result(timeout=20) == "hello you"

    asyncio.run(main())


def test_a_node_that_is_closed_says_so_and_may_be_closed_again(tmp_path: Path) -> None:
    node = finality.open(url_of(tmp_path))
    handle = node.start(Hello())
    node.close()
    node.close()
    for use in (lambda: node.start(Hello()), handle.outcome, node.nodes, lambda: node.query("SELECT 1")):
        with pytest.raises(finality.Unavailable, match="the node is closed: open a new one"):
            use()
    with pytest.raises(finality.Unavailable), node.transaction():
        pass

    async def main() -> None:
        other = finality.open_async(url_of(tmp_path))
        await other.close()  # It was never opened.
        with pytest.raises(finality.Unavailable, match="the node is closed"):
            await other.start(Hello())
        another = finality.open_async(url_of(tmp_path))
        await another.opened()
        await asyncio.gather(another.close(), another.close())
        with pytest.raises(finality.Unavailable, match="the node is closed"):
            await another.transactions()

    asyncio.run(main())


def test_who_waits_while_the_node_is_closed_hears_of_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            handle = await node.start(Waits(), id="w")
            waiting = asyncio.ensure_future(handle.outcome())
            await eventually(lambda: _started(node))
        with pytest.raises(finality.Unavailable, match="closed while the outcome was awaited"):
            await within(waiting)

    asyncio.run(main())

    node = finality.open(url_of(tmp_path))
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(node.outcome, "w")
        asyncio.run(_soon())
        node.close()
        with pytest.raises(finality.Unavailable, match="closed"):
            asked.result(20)


async def _soon() -> None:
    await asyncio.sleep(0.02)


async def _started(node: finality.AsyncNode) -> bool:
    return len(await names(node, "w")) > 1


@dataclass(frozen=True)
class Waits(finality.Saga):
    @finality.step(wait_for=finality.signal("go"))
    def gone(self, tx: finality.SyncTx, go: str) -> str:
        return go


def test_a_wait_that_takes_too_long_ends_and_the_saga_goes_on(tmp_path: Path) -> None:
    with finality.open(url_of(tmp_path)) as node:
        handle = node.start(Waits(), id="w")
        with pytest.raises(TimeoutError):
            handle.outcome(timeout=0.01)
        assert handle.signal("go", "went")
        assert handle.result(timeout=20) == "went"
        assert "gone was done" in str(handle.explain())


def test_an_opening_that_fails_leaves_nothing_behind_and_can_be_tried_again(
    tmp_path: Path, finality_threads: Callable[[], set[str]]
) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(finality.Unavailable, match="check that its folder exists"):
        finality.open(url_of(missing))
    with pytest.raises(finality.Unavailable):  # The home was open already when its other store failed.
        finality.open(url_of(tmp_path), stores={"bank": url_of(missing)})
    with pytest.raises(finality.NotFound, match=r'open it with stores=\{"bank"'):
        finality.open(url_of(tmp_path), sagas=[AtBank])
    assert finality_threads() == set()

    async def main() -> None:
        node = finality.open_async(url_of(missing))
        for _ in range(2):
            with pytest.raises(finality.Unavailable):
                await node.opened()
        missing.mkdir()
        assert await within((await node.start(Hello())).result()) == "hello you"
        await node.close()

    asyncio.run(main())
    assert finality_threads() == set()


@dataclass(frozen=True)
class AtBank(finality.Saga):
    @finality.step(at="bank")
    def paid(self, tx: finality.SyncTx) -> int:
        return 1


def test_a_loop_that_fails_while_opening_closes_the_stores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finality_threads: Callable[[], set[str]]
) -> None:
    closed: list[str] = []
    close = sqlite_store.SqliteStore.close

    async def noted(self: sqlite_store.SqliteStore) -> None:
        closed.append(self.name)
        await close(self)

    monkeypatch.setattr(sqlite_store.SqliteStore, "close", noted)
    with pytest.raises(finality.DefinitionError):
        finality.open(url_of(tmp_path), sagas=[int], stores={"bank": url_of(tmp_path, "bank")})
    assert closed == ["bank", str(tmp_path / "home.db")]
    assert finality_threads() == set()


@pytest.mark.parametrize("url", ["shop.db", "sqlite://shop.db", "sqlite:///", "oracle://x"])
def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    with pytest.raises(finality.DefinitionError, match=r"names no store: write sqlite:///shop\.db"):
        finality.open(url)


def test_a_node_belongs_to_one_event_loop(tmp_path: Path) -> None:
    node = finality.open_async(url_of(tmp_path))

    async def use() -> None:
        await node.nodes()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(use())
    with pytest.raises(finality.Unavailable, match="in use by another event loop"):
        asyncio.run(use())
    loop.run_until_complete(node.close())
    loop.close()


# ── A step that calls its own node ──────────────────────────────────────────────────────────

NODE: list[finality.Node] = []


@dataclass(frozen=True)
class Caller(finality.Saga):
    how: str

    @finality.step(retry=finality.Retry(attempts=1))
    def turn(self, tx: finality.SyncTx) -> str:
        return NODE[0].start(Hello("turn")).id if self.how == "turn" else ""

    @finality.step(retry=finality.Retry(attempts=1))
    async def task(self, turn: str) -> str:
        return NODE[0].start(Hello("task")).id if self.how == "task" else ""

    @finality.step
    def thread(self, task: str) -> str:
        return str(NODE[0].start(Hello("thread")).result(timeout=20)) if self.how == "thread" else ""


def test_a_step_may_call_its_node_from_a_thread_and_never_hangs_elsewhere(tmp_path: Path) -> None:
    with finality.open(url_of(tmp_path)) as node:
        NODE[:] = [node]
        for how in ("turn", "task"):
            outcome = node.start(Caller(how)).outcome(timeout=20)
            assert "a step called the node that runs it" in outcome.because
        assert node.start(Caller("thread")).result(timeout=20) == "hello thread"


# ── Observers ───────────────────────────────────────────────────────────────────────────────


def test_an_observer_starts_sagas_for_others_and_sees_how_they_end(tmp_path: Path) -> None:
    async def main() -> None:
        url = url_of(tmp_path)
        async with finality.open_async(url, is_observer=True) as web:
            handle = await web.start(Hello("web"), id="h")
            assert (await web.nodes(), [head.id for head in await web.undriven()]) == ([], ["h"])
            assert "no live node can drive Hello@" in str(await handle.explain())
            async with finality.open_async(url, sagas=[Hello]):
                assert await within(handle.result()) == "hello web"
            assert await web.undriven() == []

    asyncio.run(main())


# ── Draining ────────────────────────────────────────────────────────────────────────────────

GATE: list[asyncio.Event] = []


@dataclass(frozen=True)
class Long(finality.Saga):
    @finality.step
    async def worked(self) -> str:
        GATE[0].set()
        await GATE[1].wait()
        return "worked"

    @finality.step
    def noted(self, tx: finality.SyncTx, worked: str) -> str:
        return worked


@pytest.mark.slow
def test_what_has_nothing_under_way_is_handed_over_while_the_last_step_still_runs(tmp_path: Path) -> None:
    async def main() -> None:
        GATE[:] = [asyncio.Event(), asyncio.Event()]
        url, lease = url_of(tmp_path), timedelta(seconds=0.4)
        one = finality.open_async(url)
        await one.start(Long(), id="long")
        await one.start(Waits(), id="w")
        await within(GATE[0].wait())
        async with finality.open_async(url, sagas=[Long, Waits], lease=lease) as two:
            closing = asyncio.ensure_future(one.close(drain_seconds=30))
            await two.signal("w", "go", "went")
            assert (await within(two.outcome("w"))).result == "went"
            assert not closing.done()
            GATE[1].set()
            await within(closing)

            assert (await within(two.outcome("long"))).result == "worked"
            assert (await names(two, "long")).count("StepStarted worked") == 1  # Its answer was waited for.

    asyncio.run(main())


@pytest.mark.slow
def test_a_step_that_outlasts_the_drain_is_asked_again_by_the_next_node(tmp_path: Path) -> None:
    async def main() -> None:
        GATE[:] = [asyncio.Event(), asyncio.Event()]
        async with finality.open_async(url_of(tmp_path)) as one:
            await one.start(Long(), id="long")
            await within(GATE[0].wait())
            await within(one.close(drain_seconds=0.05), 10)
        GATE[1].set()
        async with finality.open_async(url_of(tmp_path), sagas=[Long]) as two:
            assert (await within(two.outcome("long"))).result == "worked"
            assert (await names(two, "long")).count("StepStarted worked") == 2

    asyncio.run(main())


@dataclass(frozen=True)
class Chained(finality.Saga):
    @finality.step
    def held(self, tx: finality.SyncTx) -> str:
        BEGUN.set()
        assert RELEASED.wait(20), "the node drains"
        return "held"

    @finality.step
    def noted(self, tx: finality.SyncTx, held: str) -> str:
        return held


BEGUN, RELEASED = threading.Event(), threading.Event()


def test_a_plain_step_that_is_next_in_line_is_not_begun_by_a_node_that_drains(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as one:
            await one.start(Chained(), id="c")  # Answered, although its first step blocks.
            await eventually(BEGUN.is_set)
            closing = asyncio.ensure_future(one.close())
            await eventually(lambda: one._coordinator._is_draining)
            RELEASED.set()
            await within(closing)
        async with finality.open_async(url_of(tmp_path), is_observer=True) as two:
            assert await names(two, "c") == ["Started", "StepDone held"]
        async with finality.open_async(url_of(tmp_path), sagas=[Chained]) as three:
            assert (await within(three.outcome("c"))).result == "held"

    asyncio.run(main())


# ── Health ──────────────────────────────────────────────────────────────────────────────────


def test_health_tells_of_a_node_and_its_store(tmp_path: Path) -> None:
    with finality.open(url_of(tmp_path)) as node:
        node.start(Hello()).result(timeout=20)
        health = node.health()

        assert health.is_good
        assert health.nodes == 1
        assert health.statuses == {"completed": 1}
        assert {check.name for check in health.checks} == {"sqlite", "journal mode", "durability"}
        assert (health.open_breakers, health.undriven, health.in_flight) == ({}, (), 0)


def test_a_terminal_that_is_closed_asks_once_and_under_nohup_not_at_all() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    asked: list[signal.Signals] = []
    try:
        with heard(asked.append):
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGHUP)  # The shell says so, and the kernel.
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, "as `nohup` has it"
        with heard(asked.append):
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)

    assert asked == [signal.SIGHUP]
