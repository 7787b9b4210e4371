"""Definitions change under open sagas: left alone with a reason, named, migrated; and streams that break."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw
import attrs
import pydantic
import pytest

import finality
from finality.core.saga import events as e
from tests.integration.kit import MovedClock, effects, eventually, put, table, told, url_of, within

Class = Any  # A saga class that a function declares anew.


def old() -> Class:
    """Return the first version: paid, then a signal, then shipped."""

    @dataclass(frozen=True)
    class Order(finality.Saga):
        sku: str

        @finality.step
        def paid(self, tx: finality.SyncTx) -> int:
            put(tx, "paid")
            return 5

        @paid.compensate
        def refunded(self, tx: finality.SyncTx, paid: int) -> None:
            put(tx, f"refunded {paid}")

        @finality.step(wait_for=finality.signal("go"))
        def shipped(self, tx: finality.SyncTx, paid: int, go: bool) -> str:
            put(tx, "shipped")
            return f"{self.sku} for {paid}"

    return Order


def new(accepts: Any = ()) -> Class:
    """Return the second version: a step is renamed, another one is new, so is a field."""

    @dataclass(frozen=True)
    class Order(finality.Saga, accepts=accepts):
        sku: str
        gift: bool = False

        @finality.step
        def charged(self, tx: finality.SyncTx) -> int:
            put(tx, "charged")
            return 5

        @charged.compensate
        def refunded(self, tx: finality.SyncTx, charged: int) -> None:
            put(tx, f"refunded {charged} anew")

        @finality.step
        def checked(self, tx: finality.SyncTx, charged: int) -> str:
            put(tx, "checked")
            return "ok"

        @finality.step(wait_for=finality.signal("go"))
        def shipped(self, tx: finality.SyncTx, charged: int, checked: str, go: bool) -> str:
            put(tx, "shipped anew")
            return f"{self.sku} for {charged} {checked}"

    return Order


def version_of(cls: Class) -> str:
    from finality.patterns.saga import definition_of

    return definition_of(cls).version


async def _begin(url: str, cls: Class, clock: MovedClock) -> None:
    async with finality.open_async(url, environment=clock) as node:
        await table(node)
        await node.start(cls("shoe"), id="o")
        await eventually(lambda: _is(node, "o", "waiting"))


async def _is(node: finality.AsyncNode, id: str, status: str) -> bool:
    return any(head.id == id and head.status == status for head in await node.transactions())


def test_a_node_with_another_version_leaves_an_open_saga_alone_and_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        url, clock, first = url_of(tmp_path), MovedClock(), old()
        await _begin(url, first, clock)
        async with finality.open_async(url, sagas=[new()], environment=clock) as node:
            [head] = await node.undriven()
            assert (head.id, head.definition) == ("o", version_of(first))
            assert f"no live node can drive Order@{version_of(first)}" in str(await node.explain("o"))
            assert [x.id for x in (await node.health()).undriven] == ["o"]
            await node.signal("o", "go", True)
            async with finality.open_async(url, sagas=[first], environment=clock) as right:
                assert (await within(right.outcome("o"))).result == "shoe for 5"
                # Who does not know the version reads the result all the same.
                assert (await within(node.outcome("o"))).result == "shoe for 5"
            assert await node.undriven() == []

    asyncio.run(main())


def test_a_version_that_is_accepted_goes_on_under_the_new_one_with_renamed_steps(tmp_path: Path) -> None:
    async def main() -> None:
        url, clock, first = url_of(tmp_path), MovedClock(), old()
        await _begin(url, first, clock)
        second = new({version_of(first): {"paid": "charged"}})
        async with finality.open_async(url, sagas=[second], environment=clock) as node:
            await node.signal("o", "go", True)
            outcome = await within(node.outcome("o"))

            assert outcome.result == "shoe for 5 ok"
            assert await effects(node) == ["paid", "checked", "shipped anew"]
            [migrated] = [x for x in await told(node, "o") if isinstance(x, e.Migrated)]
            assert (migrated.previous, migrated.version) == (version_of(first), version_of(second))
            assert "went on under" in str(await node.explain("o")) or version_of(second) in str(
                await node.explain("o")
            )

    asyncio.run(main())


def test_a_migrated_saga_is_undone_by_the_new_compensations(tmp_path: Path) -> None:
    async def main() -> None:
        url, clock, first = url_of(tmp_path), MovedClock(), old()
        await _begin(url, first, clock)
        second = new({version_of(first): {"paid": "charged"}})
        async with finality.open_async(url, sagas=[second], environment=clock) as node:
            await node.cancel("o", because="ill")

            assert await within(node.outcome("o")) == finality.COMPENSATED
            assert [x for x in await effects(node) if "refunded" in x] == ["refunded 5 anew"]

    asyncio.run(main())


@pytest.mark.slow
def test_a_saga_whose_done_step_is_missing_is_left_to_a_node_with_the_old_code(tmp_path: Path) -> None:
    """It is not kept by the node that cannot go on with it, however long that node lives."""

    async def main() -> None:
        url, clock, first = url_of(tmp_path), MovedClock(), old()
        await _begin(url, first, clock)
        second = new((version_of(first),))
        lease = timedelta(seconds=0.4)
        async with finality.open_async(url, sagas=[second], environment=clock, lease=lease) as node:
            await node.signal("o", "go", True)
            [head] = await eventually(lambda: _noted(node))
            assert "tells of step 'paid'" in (head.note or "")
            assert 'accepts={"' in (head.note or "")
            assert "give the step's new name" in str(await node.explain("o"))
            async with finality.open_async(url, sagas=[first], environment=clock, lease=lease) as right:
                assert (await within(right.outcome("o"))).result == "shoe for 5"

    asyncio.run(main())


async def _noted(node: finality.AsyncNode) -> list[Any]:
    return [head for head in await node.undriven() if head.note]


# ── What breaks in the store ────────────────────────────────────────────────────────────────


def corrupt(folder: Path, before: str, after: str) -> None:
    """Change what the journal holds, by hand."""
    connection = apsw.Connection(str(folder / "home.db"))
    connection.set_busy_timeout(5_000)
    changed = connection.execute(
        "UPDATE finality_event SET data = CAST(replace(CAST(data AS TEXT), ?, ?) AS BLOB) "
        "WHERE instr(CAST(data AS TEXT), ?) RETURNING 1",
        (before, after, before),
    ).fetchall()
    connection.close()
    assert changed, f"{before} is nowhere in the journal"


@pytest.mark.parametrize(
    "before, after, why",
    [
        ('\\"sku\\"', '\\"skew\\"', "missing required field `sku`"),
        ('"result":"5"', '"result":"\\"five\\""', "the result of step 'paid' cannot be read"),
        ('"step":"paid"', '"step":"payed"', "tells of step 'payed'"),
        ('"step":"paid"', '"step":paid', "not a saga.StepDone"),
    ],
    ids=["input", "result", "step", "event"],
)
def test_a_saga_that_cannot_be_read_is_parked_and_stops_nothing_else(
    tmp_path: Path, before: str, after: str, why: str
) -> None:
    async def main() -> None:
        url, clock, order = url_of(tmp_path), MovedClock(), old()
        await _begin(url, order, clock)
        corrupt(tmp_path, before, after)
        async with finality.open_async(url, sagas=[order], environment=clock) as node:
            with_it = await node.start(order("hat"), id="p")
            is_readable = "payed" not in why and "StepDone" not in why
            if is_readable:
                await node.signal("o", "go", True)
            else:
                _wake(tmp_path)
            [head] = await eventually(lambda: _parked(node))
            assert head.id == "o"
            assert why in (head.note or "")
            with pytest.raises(finality.Stuck, match="cannot be read"):
                await within(node.outcome("o"))
            assert "cannot be read" in str(await node.explain("o"))
            assert [x.id for x in await node.undriven()] == ["o"]
            await with_it.signal("go", True)
            assert await within(with_it.result()) == "hat for 5"

            if not is_readable:
                with pytest.raises(finality.Stuck, match="cannot be read"):
                    await node.retry("o", because="not repaired yet")
            corrupt(tmp_path, after, before)
            assert await node.retry("o", because="repaired", by="ann")
            if not is_readable:
                await node.signal("o", "go", True)
            assert (await within(node.outcome("o"))).result == "shoe for 5"
            assert await node.undriven() == []

    asyncio.run(main())


def _wake(folder: Path) -> None:
    connection = apsw.Connection(str(folder / "home.db"))
    connection.set_busy_timeout(5_000)
    connection.execute("UPDATE finality_stream SET wake_at = 0 WHERE name = 'transaction/o'")
    connection.close()


async def _parked(node: finality.AsyncNode) -> list[Any]:
    return await node.transactions(status="parked")


# ── Whose result, whose input ───────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_results_and_failures_are_readable_for_ever_by_anyone(tmp_path: Path) -> None:
    async def main() -> None:
        url = url_of(tmp_path)
        async with finality.open_async(url) as node:
            await table(node)
            await within((await node.start(Invoice(2), id="good")).outcome())
            await within((await node.start(Invoice(-1), id="bad")).outcome())
        async with finality.open_async(url, sagas=[Invoice]) as later:
            assert (await later.outcome("good")).result == Bill(2, "EUR")
            assert (await later.outcome("bad")).because == "a negative amount"
        async with finality.open_async(url, is_observer=True) as observer:
            assert (await observer.outcome("good")).result == {"amount": 2, "currency": "EUR"}
            assert (await observer.outcome("bad")).failed_step == "billed"
            assert "billed was done" in str(await observer.explain("good"))

    asyncio.run(main())


@dataclass(frozen=True)
class Bill:
    amount: int
    currency: str


@dataclass(frozen=True)
class Invoice(finality.Saga):
    amount: int

    @finality.step
    def billed(self, tx: finality.SyncTx) -> Bill:
        if self.amount < 0:
            raise finality.Refused("a negative amount")
        return Bill(self.amount, "EUR")


class Address(pydantic.BaseModel):
    street: str
    number: int = 1


@attrs.frozen
class Customer:
    name: str
    tags: list[str] = attrs.field(factory=list)


@dataclass(frozen=True)
class Delivery(finality.Saga):
    to: Address
    customer: Customer

    @finality.step
    def addressed(self, tx: finality.SyncTx) -> Address:
        return self.to.model_copy(update={"number": self.to.number + 1})

    @finality.step
    def labelled(self, tx: finality.SyncTx, addressed: Address) -> Customer:
        return attrs.evolve(self.customer, tags=[f"{addressed.street} {addressed.number}"])


def test_pydantic_models_and_attrs_classes_go_in_and_out(tmp_path: Path) -> None:
    async def main() -> None:
        url = url_of(tmp_path)
        delivery = Delivery(Address(street="High"), Customer("Ann", ["vip"]))
        async with finality.open_async(url) as node:
            handle = await node.start(delivery, id="d")
            assert await within(handle.result()) == Customer("Ann", ["High 2"])
            assert await within((await node.start(delivery, id="d")).result()) == Customer("Ann", ["High 2"])
        async with finality.open_async(url, sagas=[Delivery]) as node:
            assert (await node.outcome("d")).result == Customer("Ann", ["High 2"])

    asyncio.run(main())


def test_the_same_id_with_the_same_input_is_the_same_saga_and_with_another_is_an_error(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        url = url_of(tmp_path)
        async with finality.open_async(url) as one, finality.open_async(url) as two:
            await table(one)
            starts = [node.start(Invoice(3), id="i") for node in (one, two) for _ in range(10)]
            handles = await within(asyncio.gather(*starts))
            assert {(await within(handle.outcome())).id for handle in handles} == {"i"}
            assert len([x for x in await told(one, "i") if isinstance(x, e.Started)]) == 1
            for node in (one, two):
                with pytest.raises(finality.InputMismatch, match="id i is taken by a Invoice") as mismatch:
                    await node.start(Invoice(4), id="i")
                assert mismatch.value.transaction_id == "i"
            with pytest.raises(finality.InputMismatch):
                await one.start(Delivery(Address(street="x"), Customer("y")), id="i")

    asyncio.run(main())


def test_a_class_that_is_declared_again_runs_its_newest_code(tmp_path: Path) -> None:
    """As in a notebook, whose cell is run twice with another body."""

    def declared(answer: str) -> Class:
        @dataclass(frozen=True)
        class Note(finality.Saga):
            @finality.step
            def written(self, tx: finality.SyncTx) -> str:
                return answer

        return Note

    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            assert await within((await node.start(declared("one")())).result()) == "one"
            assert await within((await node.start(declared("two")())).result()) == "two"

    asyncio.run(main())
