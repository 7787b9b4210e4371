"""Many sagas: bounded in memory, fair between kinds, none lost."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw
import pytest

import finality
from finality.adapters.sqlite.store import SqliteHome
from tests.integration.kit import eventually, url_of, within

pytestmark = pytest.mark.slow

NOW: dict[str, int] = {}
ORDER: list[str] = []
GATE: list[asyncio.Event] = []


@dataclass(frozen=True)
class Call(finality.Saga):
    n: int

    @finality.step
    async def called(self) -> int:
        NOW["now"] += 1
        NOW["most"] = max(NOW["most"], NOW["now"])
        await GATE[0].wait()
        await asyncio.sleep(0)
        NOW["now"] -= 1
        ORDER.append("Call")
        return self.n


@dataclass(frozen=True)
class Rare(finality.Saga):
    n: int

    @finality.step
    async def seldom(self) -> int:
        await asyncio.sleep(0)
        ORDER.append("Rare")
        return self.n


def reset() -> None:
    NOW.update(now=0, most=0)
    ORDER.clear()
    GATE[:] = [asyncio.Event()]


async def _in_flight(node: finality.AsyncNode, count: int) -> bool:
    return (await node.health()).in_flight == count


def test_no_more_sagas_are_in_hand_than_allowed_and_none_is_lost(tmp_path: Path) -> None:
    """The others are on disk: what the node keeps of each in memory is a number."""

    async def main() -> None:
        reset()
        async with finality.open_async(url_of(tmp_path), in_flight_max=50) as node:
            for _ in range(10):
                await asyncio.gather(*(node.start(Call(n)) for n in range(200)))
            await eventually(lambda: NOW["now"] == 50)
            assert await _in_flight(node, 50)
            GATE[0].set()
            await eventually(lambda: len(ORDER) == 2_000)
            await eventually(lambda: _in_flight(node, 0))

            assert NOW["most"] == 50
            assert (await node.health()).statuses == {"completed": 2_000}

    asyncio.run(main())


def test_a_thousand_of_one_kind_do_not_starve_another(tmp_path: Path) -> None:
    """Twenty of the rare kind come last, and are done among the first hundred or so."""

    async def main() -> None:
        reset()
        async with finality.open_async(url_of(tmp_path), in_flight_max=20) as node:
            for _ in range(5):
                await asyncio.gather(*(node.start(Call(n)) for n in range(200)))
            rare = [await node.start(Rare(n)) for n in range(20)]
            GATE[0].set()
            outcomes = await within(asyncio.gather(*(handle.outcome() for handle in rare)))

            assert {outcome.status for outcome in outcomes} == {finality.COMPLETED}
            last = max(place for place, kind in enumerate(ORDER) if kind == "Rare")
            assert last < 200
            await eventually(lambda: len(ORDER) == 1_020)

    asyncio.run(main())


def test_two_thousand_sagas_that_a_dead_node_left_are_all_finished(tmp_path: Path) -> None:
    async def main() -> None:
        reset()
        GATE[0].set()
        async with finality.open_async(url_of(tmp_path), is_observer=True) as web:
            for _ in range(5):
                await asyncio.gather(*(web.start(Rare(n)) for n in range(400)))
            assert (await web.health()).statuses == {"running": 2_000}
        async with finality.open_async(url_of(tmp_path), sagas=[Rare], in_flight_max=100) as node:
            await eventually(lambda: len(ORDER) == 2_000)
            await eventually(lambda: _in_flight(node, 0))

            assert node.recovered == 2_000
            assert (await node.health()).statuses == {"completed": 2_000}

    asyncio.run(main())


def test_what_is_due_together_is_read_in_one_look_and_what_cannot_be_read_is_parked_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Collection[int]] = []
    real = SqliteHome.histories

    async def counted(self: SqliteHome, keys: Collection[int]) -> Any:
        looks.append(keys)
        return await real(self, keys)

    monkeypatch.setattr(SqliteHome, "histories", counted)

    async def main() -> None:
        reset()
        async with finality.open_async(url_of(tmp_path), is_observer=True) as web:
            await asyncio.gather(*(web.start(Rare(n)) for n in range(50)))
        connection = apsw.Connection(str(tmp_path / "home.db"))
        connection.execute("UPDATE finality_event SET data = x'00' WHERE stream = 25")
        connection.close()
        async with finality.open_async(url_of(tmp_path), sagas=[Rare]) as node:
            await eventually(lambda: _statuses(node, {"completed": 49, "parked": 1}))

        assert sorted(looks[0]) == [*range(1, 51)]
        assert all([*keys] == [25] for keys in looks[1:])

    asyncio.run(main())


async def _statuses(node: finality.AsyncNode, wanted: dict[str, int]) -> bool:
    return (await node.health()).statuses == wanted


def test_two_nodes_share_the_work_and_each_hears_of_the_others_outcomes(tmp_path: Path) -> None:
    async def main() -> None:
        reset()
        url = url_of(tmp_path)
        async with finality.open_async(url) as one, finality.open_async(url) as two:
            handles = [await (one if n % 2 else two).start(Rare(n)) for n in range(100)]
            crossed = [(two if n % 2 else one).outcome(handle.id) for n, handle in enumerate(handles)]
            outcomes = await within(asyncio.gather(*crossed))

            assert [outcome.result for outcome in outcomes] == list(range(100))

    asyncio.run(main())
