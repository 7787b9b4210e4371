"""Starts that bring their first step along: when they may, and that a saga is driven once for all that."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

import finality
from finality.adapters.group_commit import Writer
from finality.runtime import coordinator
from finality.runtime.posting import StartTurn
from tests.integration.kit import eventually, names, url_of, within

RUNS: list[int] = []
RELEASED = threading.Event()
STEPS = ["Started", "StepDone counted", "StepDone noted", "Completed"]


@dataclass(frozen=True)
class Plain(finality.Saga):
    number: int = 1

    @finality.step
    def counted(self, tx: finality.SyncTx) -> int:
        RUNS.append(self.number)
        return self.number

    @finality.step
    def noted(self, tx: finality.SyncTx, counted: int) -> int:
        return counted


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return whether each start that crosses to the store's thread brings its first step along."""
    along: list[bool] = []
    cross = Writer.put
    RUNS.clear()

    def seen(writer: Writer, turn: object) -> None:
        if isinstance(turn, StartTurn):
            along.append(turn.along is not None)
        cross(writer, turn)

    monkeypatch.setattr(Writer, "put", seen)
    return along


def test_a_step_comes_along_with_a_saga_that_is_alone_and_with_no_other(
    tmp_path: Path, starts: list[bool]
) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path), in_flight_max=2) as node:
            for _ in range(2):
                await within((await node.start(Plain())).outcome())
            handles = await asyncio.gather(*(node.start(Plain(n)) for n in range(4)))

            assert starts == [True] * 3 + [False] * 3
            outcomes = await within(asyncio.gather(*(handle.outcome() for handle in handles)))
            assert [outcome.result for outcome in outcomes] == [*range(4)]
            assert {tuple(await names(node, handle.id)) for handle in handles} == {tuple(STEPS)}
            assert sorted(RUNS) == [0, 1, 1, 1, 2, 3]

    asyncio.run(main())


@dataclass(frozen=True)
class Blocking(finality.Saga):
    @finality.step
    def waited(self, tx: finality.SyncTx) -> bool:
        return RELEASED.wait(10)


def test_a_start_is_answered_while_the_step_that_came_along_blocks(
    tmp_path: Path, starts: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinator, "COMPANY_SECONDS", 0.0)

    async def main() -> None:
        RELEASED.set()
        async with finality.open_async(url_of(tmp_path)) as node:
            await within((await node.start(Blocking())).outcome())  # Its commits had turns of others in them.
            RELEASED.clear()
            handle = await within(node.start(Blocking()))
            RELEASED.set()

            assert starts == [True, True]
            assert (await within(handle.outcome())).result is True

    asyncio.run(main())


def test_a_step_stays_behind_if_its_node_drains_before_the_start_is_durable(
    tmp_path: Path, starts: list[bool]
) -> None:
    async def main() -> None:
        held, released = threading.Event(), threading.Event()

        def hold(tx: finality.SyncTx) -> None:
            held.set()
            assert released.wait(10), "the node drains"

        async with finality.open_async(url_of(tmp_path), sagas=[Plain]) as one:
            holding = asyncio.ensure_future(one.run(hold))
            await eventually(held.is_set)
            started = asyncio.ensure_future(one.start(Plain(), id="p"))
            await eventually(lambda: starts == [True])
            closing = asyncio.ensure_future(one.close())
            await eventually(lambda: one._coordinator._is_draining)
            released.set()
            await within(asyncio.gather(holding, started, closing))
        async with finality.open_async(url_of(tmp_path), is_observer=True) as two:
            assert await names(two, "p") == ["Started"]

    asyncio.run(main())


def test_of_starts_with_one_id_that_race_one_brings_its_step_along_and_none_keeps_room(
    tmp_path: Path, starts: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path), in_flight_max=3) as node:
            one, again, other = await asyncio.gather(
                node.start(Plain(), id="p"), node.start(Plain(), id="p"), node.start(Plain(2), id="p"),
                return_exceptions=True,
            )  # fmt: skip

            assert starts == [True, False, False]
            assert isinstance(one, finality.Handle)
            assert one == again
            assert isinstance(other, finality.InputMismatch)
            assert (await within(one.outcome())).result == 1
            assert await names(node, "p") == STEPS
            await eventually(lambda: not node._coordinator._starting)
            monkeypatch.setattr(coordinator, "COMPANY_SECONDS", 0.0)
            node._coordinator._company_until = 0.0
            assert await node.start(Plain(), id="p") == one
            await node.run(lambda tx: None)  # Behind a step that would have come along.

            assert starts[3:] == [True]
            assert RUNS == [1]

    asyncio.run(main())
