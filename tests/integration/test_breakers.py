"""Circuit breakers: shared by nodes through the journal, durable, seen, and probed by one call."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

import finality
from finality.core.ids import StreamName
from finality.core.saga import events as e
from tests.integration.kit import MovedClock, eventually, put, table, told, url_of, within

SHIP = finality.Breaker("ship", failures=3, open_for=timedelta(minutes=5))
MANY = finality.Retry(attempts=20, first_seconds=0.001, cap_seconds=0.002)
STATE: dict[str, int] = {}


@dataclass(frozen=True)
class Order(finality.Saga):
    n: int = 0

    @finality.step(breaker=SHIP, retry=MANY)
    async def shipped(self) -> str:
        STATE["calls"] = STATE.get("calls", 0) + 1
        STATE["now"] = STATE.get("now", 0) + 1
        STATE["most"] = max(STATE.get("most", 0), STATE["now"])
        try:
            await asyncio.sleep(0.002)
        finally:
            STATE["now"] -= 1
        if STATE.get("down"):
            raise ConnectionError("harbour closed")
        return "shipped"


async def _postponed(node: finality.AsyncNode, id: str) -> bool:
    return any(isinstance(x, e.StepPostponed) for x in await told(node, id))


def test_a_breaker_keeps_all_nodes_away_survives_a_restart_and_is_probed_once(tmp_path: Path) -> None:
    async def main() -> None:
        STATE.clear()
        STATE["down"] = 1
        url, clock = url_of(tmp_path), MovedClock()
        async with (
            finality.open_async(url, environment=clock) as one,
            finality.open_async(url, environment=clock) as two,
        ):
            await one.start(Order(), id="first")
            await eventually(lambda: _postponed(one, "first"))
            assert STATE["calls"] == 3
            await two.start(Order(), id="second")
            await eventually(lambda: _postponed(two, "second"))
            assert STATE["calls"] == 3  # Another node learned of it from the journal.
            assert (await two.health()).open_breakers == {"ship": "ConnectionError: harbour closed"}
            assert "circuit breaker 'ship' is open" in str(await two.explain("second"))
        async with finality.open_async(url, sagas=[Order], environment=clock) as later:
            for n in range(20):
                await later.start(Order(n), id=f"more-{n}")
            await eventually(lambda: _postponed(later, "more-19"))
            assert STATE["calls"] == 3
            clock.move(minutes=6)
            # The probe fails: it is open for another while, after one call and no more.
            await eventually(lambda: STATE["calls"] == 4)
            await eventually(lambda: _is_open_again(later))
            assert STATE["calls"] == 4
            STATE.update(down=0, most=0)
            clock.move(minutes=6)
            outcomes = [later.outcome(id) for id in ("first", "second", *(f"more-{n}" for n in range(20)))]
            assert {(await within(outcome)).status for outcome in outcomes} == {finality.COMPLETED}
            assert (await later.health()).open_breakers == {}
            assert STATE["calls"] == 4 + 22

    asyncio.run(main())


async def _is_open_again(node: finality.AsyncNode) -> bool:
    stream = await node.journal.read(StreamName("breaker/ship"))
    return [type(r.event).__name__ for r in stream][-2:] == ["ProbeStarted", "Opened"]


@dataclass(frozen=True)
class Plain(finality.Saga):
    n: int

    @finality.step(breaker="plain", retry=finality.Retry(attempts=8, first_seconds=0.001, cap_seconds=0.002))
    def written(self, tx: finality.SyncTx) -> str:
        put(tx, "written")
        STATE["written"] = STATE.get("written", 0) + 1
        raise ConnectionError("no ink")


def test_a_plain_step_counts_at_its_breaker_too(tmp_path: Path) -> None:
    async def main() -> None:
        STATE.clear()
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            await node.start(Plain(1), id="p")
            await eventually(lambda: _postponed(node, "p"))

            assert STATE["written"] == 5
            assert (await node.health()).open_breakers == {"plain": "ConnectionError: no ink"}

    asyncio.run(main())


@dataclass(frozen=True)
class Refusing(finality.Saga):
    @finality.step(breaker=finality.Breaker("polite", failures=1))
    async def asked(self) -> str:
        raise finality.Refused("no")


def test_a_refusal_is_an_answer_and_opens_no_breaker(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            for _ in range(3):
                outcome = await within((await node.start(Refusing())).outcome())
                assert outcome.because == "no"

            assert (await node.health()).open_breakers == {}

    asyncio.run(main())


def test_a_saga_behind_an_open_breaker_can_be_cancelled(tmp_path: Path) -> None:
    async def main() -> None:
        STATE.clear()
        STATE["down"] = 1
        async with finality.open_async(url_of(tmp_path)) as node:
            handle = await node.start(Order(), id="o")
            await eventually(lambda: _postponed(node, "o"))
            assert await handle.cancel(because="ill")

            assert await within(handle.outcome()) == finality.COMPENSATED
            with pytest.raises(finality.Compensated):
                await handle.result()

    asyncio.run(main())
