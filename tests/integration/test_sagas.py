"""Sagas on a real SQLite file: order, parallelism, retries, refusals, conditions, lists."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import finality
from finality.adapters.group_commit import Writer
from finality.core.saga import events as e
from finality.runtime.posting import StartTurn
from finality.runtime.turns import ChainTurn, StepTurn
from tests.integration.kit import (
    effects,
    names,
    put,
    table,
    told,
    url_of,
    within,
)

ONCE = finality.Retry(attempts=1)


@dataclass(frozen=True)
class Diamond(finality.Saga):
    fails_at: str = ""

    @finality.step
    def top(self, tx: finality.SyncTx) -> str:
        put(tx, "top")
        return "top"

    @top.compensate
    def untop(self, tx: finality.SyncTx, top: str) -> None:
        put(tx, f"-{top}")

    @finality.step
    async def left(self, tx: finality.Tx, top: str) -> str:
        await tx.execute("INSERT INTO effect VALUES (?)", "left")
        return "left"

    @left.compensate
    async def unleft(self, tx: finality.Tx, left: str) -> None:
        await tx.execute("INSERT INTO effect VALUES (?)", f"-{left}")

    @finality.step
    def right(self, tx: finality.SyncTx, top: str) -> str:
        put(tx, "right")
        return "right"

    @right.compensate
    def unright(self, tx: finality.SyncTx, right: str) -> None:
        put(tx, f"-{right}")

    @finality.step
    def bottom(self, tx: finality.SyncTx, left: str, right: str) -> str:
        put(tx, "bottom")
        if self.fails_at == "bottom":
            raise finality.Refused("no bottom")
        return left + right


def test_a_step_runs_after_what_it_needs_and_yields_the_result(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            handle = await node.start(Diamond(), id="d")
            outcome = await within(handle.outcome())

            assert outcome == finality.COMPLETED
            assert outcome.result == "leftright"
            done = await effects(node)
            assert done[0] == "top"
            assert set(done[1:3]) == {"left", "right"}
            assert done[3:] == ["bottom"]

    asyncio.run(main())


def test_what_was_done_is_undone_in_the_reverse_order_of_the_needs(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            outcome = await within((await node.start(Diamond("bottom"), id="d")).outcome())

            assert outcome == finality.COMPENSATED
            assert (outcome.failed_step, outcome.because) == ("bottom", "no bottom")
            done = await effects(node)
            assert "bottom" not in done  # Its own transaction was aborted with the refusal.
            assert set(done[3:5]) == {"-left", "-right"}
            assert done[5:] == ["-top"]
            with pytest.raises(finality.Compensated, match="no bottom"):
                outcome.raise_if_compensated()

    asyncio.run(main())


@dataclass(frozen=True)
class Meeting(finality.Saga):
    @finality.step
    async def one(self) -> str:
        await MEET.wait()
        return "one"

    @finality.step
    async def two(self) -> str:
        await MEET.wait()
        return "two"

    @finality.step
    def three(self) -> str:
        MEET_THREADS.wait(10)
        return "three"

    @finality.step
    def four(self) -> str:
        MEET_THREADS.wait(10)
        return "four"


MEET: Any = None
MEET_THREADS = threading.Barrier(2)


def test_steps_that_need_nothing_of_each_other_run_at_once(tmp_path: Path) -> None:
    """Each waits for the others: one after the other they would never meet."""

    async def main() -> None:
        global MEET
        MEET = asyncio.Barrier(2)
        async with finality.open_async(url_of(tmp_path)) as node:
            outcome = await within((await node.start(Meeting())).outcome())

            assert outcome == finality.COMPLETED

    asyncio.run(main())


ASKED: list[str] = []


@dataclass(frozen=True)
class Refusing(finality.Saga):
    @finality.step
    def paid(self, tx: finality.SyncTx) -> int:
        put(tx, "paid")
        return 1

    @paid.compensate
    def unpaid(self, tx: finality.SyncTx, paid: int) -> None:
        put(tx, "unpaid")

    @finality.step
    async def asked(self, paid: int) -> int:
        ASKED.append("asked")
        raise finality.Refused("sold out")

    @asked.compensate
    async def unasked(self, asked: int | None) -> None:
        raise AssertionError("what was refused has no effect, so there is nothing to undo")


def test_a_refusal_is_never_retried_and_its_own_step_needs_no_undo(tmp_path: Path) -> None:
    async def main() -> None:
        ASKED.clear()
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            outcome = await within((await node.start(Refusing(), id="r")).outcome())

            assert (outcome == finality.COMPENSATED, outcome.because) == (True, "sold out")
            assert ASKED == ["asked"]
            assert await effects(node) == ["paid", "unpaid"]

    asyncio.run(main())


@dataclass(frozen=True)
class Plain(finality.Saga):
    @finality.step
    def paid(self, tx: finality.SyncTx) -> int:
        put(tx, "paid")
        return 1

    @paid.compensate
    def unpaid(self, tx: finality.SyncTx, paid: int) -> None:
        put(tx, "unpaid")

    @finality.step
    def sent(self, tx: finality.SyncTx, paid: int) -> int:
        raise finality.Refused("sold out")


def test_plain_steps_and_their_undo_cross_to_the_stores_thread_with_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crossed: list[Any] = []
    cross = Writer.put

    def counted(writer: Writer, turn: Any) -> None:
        crossed.append(turn)
        cross(writer, turn)

    monkeypatch.setattr(Writer, "put", counted)

    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            outcome = await within((await node.start(Plain(), id="p")).outcome())

            assert outcome == finality.COMPENSATED
            assert await effects(node) == ["paid", "unpaid"]

    asyncio.run(main())

    begun = [turn.along for turn in crossed if isinstance(turn, StartTurn)]

    assert [type(along) for along in begun] == [ChainTurn]
    assert not [turn for turn in crossed if isinstance(turn, StepTurn)]


@dataclass(frozen=True)
class Maybe(finality.Saga):
    amount: int
    breaks: str = ""

    def is_large(self, checked: int) -> bool:
        if self.breaks == "condition":
            raise ValueError("cannot decide")
        return checked > 100

    @finality.step
    def checked(self, tx: finality.SyncTx) -> int:
        put(tx, "checked")
        return self.amount

    @checked.compensate
    def unchecked(self, tx: finality.SyncTx, checked: int) -> None:
        put(tx, "unchecked")

    @finality.step(when=is_large)
    def approved(self, tx: finality.SyncTx, checked: int) -> str:
        put(tx, "approved")
        return "yes"

    @finality.step
    def paid(self, tx: finality.SyncTx, approved: str | None) -> str:
        return f"paid {approved}"


@pytest.mark.parametrize("amount, result", [(5, "paid None"), (500, "paid yes")])
def test_a_step_whose_condition_does_not_hold_is_skipped(tmp_path: Path, amount: int, result: str) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            outcome = await within((await node.start(Maybe(amount), id="m")).outcome())

            assert outcome.result == result
            skipped = [x for x in await told(node, "m") if isinstance(x, e.StepSkipped)]
            assert [x.step for x in skipped] == ([] if amount > 100 else ["approved"])

    asyncio.run(main())


def test_a_condition_that_raises_turns_the_saga_back(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            outcome = await within((await node.start(Maybe(5, "condition"), id="m")).outcome())

            assert outcome.because == "its condition failed: ValueError: cannot decide"
            assert await effects(node) == ["checked", "unchecked"]

    asyncio.run(main())


# ── The audit trail ─────────────────────────────────────────────────────────────────────────


def test_every_action_and_compensation_tells_who_when_which_attempt_and_why(tmp_path: Path) -> None:
    async def main() -> None:
        begun = time.time()
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            await within((await node.start(Refusing(), id="r")).outcome())
            history = await node.history("r")
            [row] = await node.nodes()

            assert await names(node, "r") == [
                "Started",
                "StepDone paid",
                "StepStarted asked",
                "StepRefused asked",
                "UndoStarted asked",
                "CompensationDone paid",
                "Compensated",
            ]
            assert [recorded.version for recorded in history] == list(range(1, 8))
            assert {recorded.by for recorded in history} == {row.id}
            assert all(begun <= recorded.at <= time.time() for recorded in history)
            text = str(await node.explain("r"))
            assert "asked was refused at attempt 1: sold out" in text
            assert "paid was compensated at attempt 1" in text

    asyncio.run(main())


def test_the_handle_of_a_saga_is_found_by_id(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            await node.start(Diamond(), id="d")
            handle = await node.handle("d")

            assert await within(handle.result()) == "leftright"
            with pytest.raises(finality.NotFound, match="no transaction has the id 'e'"):
                await node.handle("e")

    asyncio.run(main())


def test_a_step_that_calls_sys_exit_fails_and_the_node_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            for how in ("task", "thread", "turn"):
                outcome = await within((await node.start(Leaving(how), id=how)).outcome())

                assert "SystemExit" in outcome.because
            assert await within((await node.start(Diamond(), id="d")).outcome()) == finality.COMPLETED

    asyncio.run(main())


@dataclass(frozen=True)
class Leaving(finality.Saga):
    how: str

    @finality.step(retry=ONCE)
    async def task(self) -> int:
        if self.how == "task":
            raise SystemExit(3)
        return 1

    @finality.step(retry=ONCE)
    def thread(self, task: int) -> int:
        if self.how == "thread":
            raise SystemExit(3)
        return 1

    @finality.step(retry=ONCE)
    def turn(self, tx: finality.SyncTx, thread: int) -> int:
        if self.how == "turn":
            raise SystemExit(3)
        return 1


def test_an_input_that_nobody_could_read_again_starts_nothing() -> None:
    """It would run here, and be parked by whoever takes it over."""

    async def main() -> None:
        async with finality.open_async("memory://") as node:
            with pytest.raises(finality.InputMismatch, match=r"Expected `str`, got `int` - at `\$.fails_at`"):
                await node.start(Diamond(7), id="d-1")  # type: ignore[arg-type]  # the mistake
            with pytest.raises(finality.DefinitionError, match="give its input"):
                await node.start(Diamond, id="d-1")  # type: ignore[arg-type]  # the mistake

            assert await node.transactions() == []

    asyncio.run(main())
