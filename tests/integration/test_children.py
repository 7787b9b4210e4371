"""Child sagas: completed, refused, undone with their parent, cancelled, and children of children."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

import finality
from tests.integration.kit import effects, eventually, names, put, table, url_of, within

GATE: list[asyncio.Event] = []


@dataclass(frozen=True)
class Room(finality.Saga):
    number: int
    how: str = ""

    @finality.step
    def booked(self, tx: finality.SyncTx) -> int:
        put(tx, f"room {self.number}")
        return self.number

    @booked.compensate
    def unbooked(self, tx: finality.SyncTx, booked: int) -> None:
        put(tx, f"-room {booked}")

    @finality.step
    async def confirmed(self, booked: int) -> str:
        if self.how == "refused":
            raise finality.Refused("no such room")
        if self.how == "gate":
            GATE[0].set()
            await GATE[1].wait()
        return f"room {booked} confirmed"


@dataclass(frozen=True)
class Hotel(finality.Saga):
    how: str = ""

    @finality.step
    def named(self, tx: finality.SyncTx) -> int:
        put(tx, "hotel")
        return 7

    @named.compensate
    def unnamed(self, tx: finality.SyncTx, named: int) -> None:
        put(tx, "-hotel")

    @finality.child
    def room(self, named: int) -> Room:
        return Room(named, self.how)


@dataclass(frozen=True)
class Trip(finality.Saga):
    how: str = ""
    end: str = ""

    @finality.step
    def paid(self, tx: finality.SyncTx) -> int:
        put(tx, "paid")
        return 1

    @paid.compensate
    def refunded(self, tx: finality.SyncTx, paid: int) -> None:
        put(tx, "refunded")

    @finality.child
    def hotel(self, paid: int) -> Hotel:
        if self.how == "raises":
            raise ValueError("which hotel?")
        return Hotel(self.how)

    @finality.step
    def travelled(self, tx: finality.SyncTx, hotel: str) -> str:
        if self.end == "refused":
            raise finality.Refused("no travel")
        return f"travelled to {hotel}"


def test_a_child_and_its_child_complete_and_the_parent_gets_the_result(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            handle = await node.start(Trip(), id="t")

            assert await within(handle.result()) == "travelled to room 7 confirmed"
            assert await effects(node) == ["paid", "hotel", "room 7"]
            assert await within(node.outcome("t/hotel")) == finality.COMPLETED
            assert await within(node.outcome("t/hotel/room")) == finality.COMPLETED

    asyncio.run(main())


def test_a_child_that_is_refused_undoes_itself_and_then_its_parent(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            outcome = await within((await node.start(Trip("refused"), id="t")).outcome())

            assert (outcome.failed_step, outcome.because) == ("hotel", "no such room")
            assert await effects(node) == ["paid", "hotel", "room 7", "-room 7", "-hotel", "refunded"]

    asyncio.run(main())


@pytest.mark.slow
def test_a_parent_that_turns_back_later_undoes_the_child_that_had_completed(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            outcome = await within((await node.start(Trip(end="refused"), id="t")).outcome())

            assert outcome.because == "no travel"
            assert await effects(node) == ["paid", "hotel", "room 7", "-room 7", "-hotel", "refunded"]
            child = await within(node.outcome("t/hotel"))
            assert (child == finality.COMPENSATED, child.because) == (True, "saga t is undone")

    asyncio.run(main())


@pytest.mark.slow
def test_a_parent_that_is_cancelled_while_its_childs_child_runs_undoes_all_three(tmp_path: Path) -> None:
    async def main() -> None:
        GATE[:] = [asyncio.Event(), asyncio.Event()]
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            handle = await node.start(Trip("gate"), id="t")
            await within(GATE[0].wait())
            assert await handle.cancel(because="ill", by="ann")
            await eventually(lambda: _has(node, "t/hotel/room", "UndoStarted"))
            GATE[1].set()

            assert await within(handle.outcome()) == finality.COMPENSATED
            assert await effects(node) == ["paid", "hotel", "room 7", "-room 7", "-hotel", "refunded"]

    asyncio.run(main())


async def _has(node: finality.AsyncNode, id: str, event: str) -> bool:
    return event in await names(node, id)


def test_a_child_function_that_raises_turns_the_parent_back(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            outcome = await within((await node.start(Trip("raises"), id="t")).outcome())

            assert outcome.because == "its child failed: ValueError: which hotel?"
            assert await effects(node) == ["paid", "refunded"]

    asyncio.run(main())


def test_a_childs_id_that_is_taken_refuses_the_step(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            await within((await node.start(Room(3), id="t/hotel")).outcome())
            outcome = await within((await node.start(Trip(), id="t")).outcome())

            assert outcome.because == "its child would have the id t/hotel, which is taken by another saga"
            assert await effects(node) == ["room 3", "paid", "refunded"]

    asyncio.run(main())


@pytest.mark.slow
def test_a_node_that_dies_between_parent_and_child_is_replaced_by_one_that_goes_on(tmp_path: Path) -> None:
    """The first node leaves while the child's child is half done; another finishes all three."""

    async def main() -> None:
        GATE[:] = [asyncio.Event(), asyncio.Event()]
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            await node.start(Trip("gate"), id="t")
            await within(GATE[0].wait())
            await node.close(drain_seconds=0.0)
        GATE[1].set()
        async with finality.open_async(url_of(tmp_path), sagas=[Trip]) as node:
            outcome = await within(node.outcome("t"))

            assert outcome.result == "travelled to room 7 confirmed"
            assert await effects(node) == ["paid", "hotel", "room 7"]

    asyncio.run(main())


@dataclass(frozen=True)
class Nest(finality.Saga):
    depth: int

    def is_deeper(self) -> bool:
        return self.depth > 0

    @finality.step
    def laid(self, tx: finality.SyncTx) -> int:
        put(tx, f"nest {self.depth}")
        return self.depth

    @finality.child(when=is_deeper)
    def inner(self, laid: int) -> Nest:
        return Nest(laid - 1)


@pytest.mark.slow
def test_a_saga_may_be_its_own_child(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            outcome = await within((await node.start(Nest(3), id="n")).outcome())

            assert outcome == finality.COMPLETED
            assert await effects(node) == ["nest 3", "nest 2", "nest 1", "nest 0"]

    asyncio.run(main())


@dataclass(frozen=True)
class Tour(finality.Saga):
    numbers: list[int]
    bad: int = -1

    @finality.step
    def begun(self, tx: finality.SyncTx) -> int:
        return 1

    @finality.child
    def one(self, begun: int) -> Room:
        return Room(1)

    @finality.child
    def two(self, begun: int) -> Room:
        return Room(2, "refused" if self.bad == 2 else "")


def test_children_side_by_side_are_all_undone_when_one_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            outcome = await within((await node.start(Tour([], bad=2), id="t")).outcome())

            assert outcome == finality.COMPENSATED
            left = sorted(await effects(node))
            assert left in (["-room 1", "-room 2", "room 1", "room 2"], ["-room 2", "room 2"])

    asyncio.run(main())
