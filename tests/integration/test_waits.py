"""Waiting: timers that outlive the process, signals, deadlines, cancellation."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

import finality
from finality.core.saga import events as e
from tests.integration.kit import MovedClock, effects, eventually, names, put, table, told, url_of, within


@dataclass(frozen=True)
class Reminder(finality.Saga):
    @finality.step
    def sent(self, tx: finality.SyncTx) -> int:
        put(tx, "sent")
        return 1

    @finality.step(wait_for=finality.timer(timedelta(days=30)))
    def reminded(self, tx: finality.SyncTx, sent: int) -> str:
        put(tx, "reminded")
        return "reminded"


async def status(node: finality.AsyncNode, id: str) -> str:
    [head] = [head for head in await node.transactions() if head.id == id]
    return head.status


async def sleeping(node: finality.AsyncNode, id: str) -> bool:
    return await status(node, id) == "waiting"


@pytest.mark.slow
async def is_idle(node: finality.AsyncNode) -> bool:
    """Say whether the node has nothing in hand."""
    return (await node.health()).in_flight == 0


def test_a_saga_sleeps_for_a_month_through_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        clock = MovedClock()
        async with finality.open_async(url_of(tmp_path), environment=clock) as node:
            await table(node)
            await node.start(Reminder(), id="r")
            await eventually(lambda: sleeping(node, "r"))
            await eventually(lambda: is_idle(node), "the node lets go of it")
        clock.move(days=29)
        async with finality.open_async(url_of(tmp_path), sagas=[Reminder], environment=clock) as node:
            assert await sleeping(node, "r")
            assert "the time to come" in str(await node.explain("r"))
            clock.move(days=1)

            assert (await within((await node.handle("r")).result())) == "reminded"
            assert await effects(node) == ["sent", "reminded"]

    asyncio.run(main())


@dataclass(frozen=True)
class Approval(finality.Saga):
    how: str = ""

    @finality.step
    def asked(self, tx: finality.SyncTx) -> int:
        put(tx, "asked")
        return 1

    @asked.compensate
    def unasked(self, tx: finality.SyncTx, asked: int) -> None:
        put(tx, "unasked")

    @finality.step(wait_for=finality.signal("approval", within=timedelta(hours=1)))
    def approved(self, tx: finality.SyncTx, asked: int, approval: bool) -> str:
        if not approval:
            raise finality.Refused("not approved")
        return "approved"

    @finality.step(wait_for=finality.signal("discount", within=timedelta(hours=2), default=7))
    def priced(self, tx: finality.SyncTx, approved: str, discount: int) -> str:
        return f"{approved}, {discount} off"


def test_a_person_approves_and_a_default_stands_in_for_what_never_came(tmp_path: Path) -> None:
    async def main() -> None:
        clock = MovedClock()
        async with finality.open_async(url_of(tmp_path), environment=clock) as node:
            await table(node)
            handle = await node.start(Approval(), id="a")
            await eventually(lambda: sleeping(node, "a"))

            assert await handle.signal("approval", True, by="ann")
            assert not await handle.signal("approval", False, by="bob")  # The first one counts.
            await eventually(lambda: _is_waiting_for(node, "a", "discount"))
            clock.move(hours=2, seconds=1)
            assert await within(handle.result()) == "approved, 7 off"
            assert not await handle.signal("discount", 9)
            [heard] = [x for x in await told(node, "a") if isinstance(x, e.SignalReceived)]
            assert (heard.name, heard.value, heard.by) == ("approval", "true", "ann")

    asyncio.run(main())


async def _is_waiting_for(node: finality.AsyncNode, id: str, signal: str) -> bool:
    return any(f"the signal '{signal}'" in line for line in (await node.explain(id)).waits_for)


def test_a_signal_that_comes_before_its_step_is_kept_for_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            handle = await node.start(Approval(), id="a")
            assert await handle.signal("discount", 3)
            assert await handle.signal("approval", True)

            assert await within(handle.result()) == "approved, 3 off"

    asyncio.run(main())


def test_a_signal_that_never_comes_and_has_no_default_turns_the_saga_back(tmp_path: Path) -> None:
    async def main() -> None:
        clock = MovedClock()
        async with finality.open_async(url_of(tmp_path), environment=clock) as node:
            await table(node)
            handle = await node.start(Approval(), id="a")
            await eventually(lambda: sleeping(node, "a"))
            clock.move(hours=1, seconds=1)
            outcome = await within(handle.outcome())

            assert outcome.because == "signal 'approval' did not come in time"
            assert await effects(node) == ["asked", "unasked"]

    asyncio.run(main())


def test_a_value_that_does_not_fit_or_a_signal_that_is_unknown_is_refused_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            handle = await node.start(Approval(), id="a")
            with pytest.raises(finality.InputMismatch, match="'approval' was not sent to saga a: its value"):
                await handle.signal("approval", "perhaps")
            with pytest.raises(
                finality.NotFound, match="no signal 'approve': Approval knows approval, discount"
            ):
                await handle.signal("approve", True)
            with pytest.raises(finality.NotFound, match="no transaction has the id 'b'"):
                await node.signal("b", "approval", True)
            assert not [x for x in await told(node, "a") if isinstance(x, e.SignalReceived)]

            assert await handle.signal("approval", False)
            assert (await within(handle.outcome())).because == "not approved"

    asyncio.run(main())


@dataclass(frozen=True)
class Conditional(finality.Saga):
    def is_wanted(self, answer: bool) -> bool:
        return answer

    @finality.step(wait_for=finality.signal("answer"), when=is_wanted)
    def done(self, tx: finality.SyncTx) -> str:
        return "done"


@pytest.mark.parametrize("answer, result", [(True, "done"), (False, None)])
def test_a_condition_on_a_signal_is_asked_when_the_signal_has_come(
    tmp_path: Path, answer: bool, result: str | None
) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            handle = await node.start(Conditional(), id="c")
            await eventually(lambda: sleeping(node, "c"))
            await handle.signal("answer", answer)

            assert await within(handle.result()) == result

    asyncio.run(main())


# ── Deadline and cancellation ───────────────────────────────────────────────────────────────

GATES: dict[str, asyncio.Event] = {}


async def gate(name: str) -> None:
    """Say that the step is here, and wait to be let on."""
    GATES[f"{name} is here"].set()
    await GATES[name].wait()


def gates(*names: str) -> None:
    for name in names:
        GATES[name], GATES[f"{name} is here"] = asyncio.Event(), asyncio.Event()


@dataclass(frozen=True)
class Trip(finality.Saga, deadline=timedelta(minutes=10)):
    @finality.step
    def paid(self, tx: finality.SyncTx) -> int:
        put(tx, "paid")
        return 1

    @paid.compensate
    def refunded(self, tx: finality.SyncTx, paid: int) -> None:
        put(tx, "refunded")

    @finality.step
    async def seat(self, paid: int) -> int:
        await gate("seat")
        return 12

    @seat.compensate
    def released(self, tx: finality.SyncTx, seat: int | None) -> None:
        put(tx, f"released {seat}")

    @finality.pivot
    async def ticket(self, seat: int) -> int:
        await gate("ticket")
        return 99

    @finality.step
    async def mailed(self, ticket: int) -> str:
        await gate("mailed")
        return "mailed"


def test_a_saga_that_is_cancelled_while_a_step_runs_undoes_that_step_as_well(tmp_path: Path) -> None:
    """The answer that was under way is waited for, so that what it did is undone by its result."""

    async def main() -> None:
        gates("seat", "ticket", "mailed")
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            handle = await node.start(Trip(), id="t")
            await within(GATES["seat is here"].wait())
            assert await handle.cancel(because="ill", by="ann")
            assert not await handle.cancel(because="ill again")
            GATES["seat"].set()
            outcome = await within(handle.outcome())

            assert outcome == finality.COMPENSATED
            assert outcome.because == "ill"
            assert await effects(node) == ["paid", "released 12", "refunded"]
            assert not await handle.cancel(because="too late")

    asyncio.run(main())


def test_a_saga_at_its_pivot_cannot_be_cancelled_any_more(tmp_path: Path) -> None:
    async def main() -> None:
        gates("seat", "ticket", "mailed")
        GATES["seat"].set()
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            handle = await node.start(Trip(), id="t")
            await within(GATES["ticket is here"].wait())
            assert not await handle.cancel(because="ill")
            assert "point of no return" in str(await handle.explain())
            GATES["ticket"].set()
            await within(GATES["mailed is here"].wait())
            assert not await handle.cancel(because="ill")
            GATES["mailed"].set()

            assert await within(handle.result()) == "mailed"

    asyncio.run(main())


def test_a_waiting_saga_is_cancelled(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            handle = await node.start(Approval(), id="a")
            await eventually(lambda: sleeping(node, "a"))
            assert await handle.cancel(because="changed my mind", by="ann")

            assert (await within(handle.outcome())).because == "changed my mind"
            assert (await names(node, "a"))[-3:] == ["UndoStarted", "CompensationDone asked", "Compensated"]

    asyncio.run(main())


def test_a_saga_is_cancelled_by_a_node_that_does_not_drive_it(tmp_path: Path) -> None:
    async def main() -> None:
        gates("seat", "ticket", "mailed")
        url = url_of(tmp_path)
        async with finality.open_async(url) as node, finality.open_async(url, is_observer=True) as observer:
            await table(node)
            await node.start(Trip(), id="t")
            await within(GATES["seat is here"].wait())
            assert await observer.cancel("t", because="ill", by="ann")
            GATES["seat"].set()

            assert await within(observer.outcome("t")) == finality.COMPENSATED
            assert await effects(observer) == ["paid", "released 12", "refunded"]

    asyncio.run(main())


def test_a_saga_that_is_not_past_its_pivot_in_time_is_undone(tmp_path: Path) -> None:
    async def main() -> None:
        clock = MovedClock()
        gates("seat", "ticket", "mailed")
        async with finality.open_async(url_of(tmp_path), environment=clock) as node:
            await table(node)
            handle = await node.start(Late(), id="t")
            await eventually(lambda: sleeping(node, "t"))
            clock.move(minutes=11)
            outcome = await within(handle.outcome())

            assert outcome.because == "the deadline passed"
            assert await effects(node) == ["paid", "refunded"]

    asyncio.run(main())


@dataclass(frozen=True)
class Late(finality.Saga, deadline=timedelta(minutes=10)):
    @finality.step
    def paid(self, tx: finality.SyncTx) -> int:
        put(tx, "paid")
        return 1

    @paid.compensate
    def refunded(self, tx: finality.SyncTx, paid: int) -> None:
        put(tx, "refunded")

    @finality.step(wait_for=finality.signal("word"))
    def heard(self, tx: finality.SyncTx, paid: int, word: str) -> str:
        return word
