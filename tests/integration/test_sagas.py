"""Sagas on a real SQLite file: order, parallelism, retries, refusals, conditions, lists."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import finality
from finality.core.saga import events as e
from tests.integration.kit import (
    QUICK,
    attempts,
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


FAILURES: dict[str, int] = {}


def flaky(name: str, times: int) -> None:
    """Fail so many times."""
    FAILURES[name] = FAILURES.get(name, 0) + 1
    if FAILURES[name] <= times:
        raise ConnectionError(f"failure {FAILURES[name]} of {name}")


@dataclass(frozen=True)
class Patient(finality.Saga):
    times: int

    @finality.step(retry=QUICK)
    def paid(self, tx: finality.SyncTx) -> int:
        put(tx, "paid")
        flaky("paid", self.times)
        return 1

    @paid.compensate
    def unpaid(self, tx: finality.SyncTx, paid: int) -> None:
        put(tx, "unpaid")

    @finality.pivot(retry=QUICK)
    def sent(self, tx: finality.SyncTx, paid: int) -> int:
        put(tx, "sent")
        return 2

    @finality.step(retry=finality.Retry(attempts=None, first_seconds=0.0005, cap_seconds=0.001))
    def told(self, sent: int) -> int:
        flaky("told", 50)
        return 3


def test_a_technical_failure_is_retried_and_leaves_nothing_of_the_attempt(tmp_path: Path) -> None:
    async def main() -> None:
        FAILURES.update(paid=0, told=50)
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            outcome = await within((await node.start(Patient(2), id="p")).outcome())

            assert outcome == finality.COMPLETED
            assert await effects(node) == ["paid", "sent"]
            assert await attempts(node, "p", "paid") == 2
            failed = [x for x in await told(node, "p") if isinstance(x, e.StepFailed)]
            assert [x.because for x in failed] == [
                "ConnectionError: failure 1 of paid",
                "ConnectionError: failure 2 of paid",
            ]

    asyncio.run(main())


def test_a_step_that_fails_at_every_attempt_turns_the_saga_back(tmp_path: Path) -> None:
    async def main() -> None:
        FAILURES.update(paid=-1_000_000, told=50)
        FAILURES["paid"] = 0
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            outcome = await within((await node.start(Patient(99), id="p")).outcome())

            assert outcome == finality.COMPENSATED
            assert await attempts(node, "p", "paid") == 3
            assert await effects(node) == []

    asyncio.run(main())


@pytest.mark.slow
def test_behind_the_pivot_a_step_is_tried_until_it_succeeds(tmp_path: Path) -> None:
    async def main() -> None:
        FAILURES.update(paid=1, told=0)
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            outcome = await within((await node.start(Patient(0), id="p")).outcome())

            assert outcome == finality.COMPLETED
            assert outcome.result == 3
            assert await attempts(node, "p", "told") == 50
            assert await effects(node) == ["paid", "sent"]

    asyncio.run(main())


@dataclass(frozen=True)
class Slow(finality.Saga):
    how: str

    @finality.step(retry=ONCE, timeout=timedelta(seconds=0.02))
    async def waiting(self) -> int:
        if self.how == "async":
            await asyncio.sleep(60)
        if self.how == "own":
            raise TimeoutError("the socket timed out")
        return 1

    @waiting.compensate
    async def unwait(self, waiting: int | None, attempt: finality.Attempt) -> None:
        SEEN.append(f"{waiting} {attempt.key} {attempt.undoes}")

    @finality.step(retry=ONCE, timeout=timedelta(seconds=0.02))
    def blocking(self, waiting: int) -> int:
        if self.how == "blocking":
            RELEASE.wait(20)
        return 2


SEEN: list[str] = []
RELEASE = threading.Event()


@pytest.mark.parametrize(
    "how, because",
    [
        ("async", "TimeoutError: no answer within 0.02 seconds"),
        ("own", "TimeoutError: the socket timed out"),
        ("blocking", "TimeoutError: no answer within 0.02 seconds"),
    ],
)
def test_a_step_that_takes_longer_than_its_limit_has_failed(tmp_path: Path, how: str, because: str) -> None:
    """Nobody knows whether it took effect, so its compensation gets None and the key that was sent."""

    async def main() -> None:
        SEEN.clear()
        RELEASE.clear()
        async with finality.open_async(url_of(tmp_path)) as node:
            outcome = await within((await node.start(Slow(how), id="s")).outcome())
            RELEASE.set()

            assert outcome == finality.COMPENSATED
            assert outcome.because == because
            assert [f"{'1' if how == 'blocking' else None} s/waiting/undo s/waiting"] == SEEN

    asyncio.run(main())


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
        FAILURES["asked"] = FAILURES.get("asked", 0) + 1
        raise finality.Refused("sold out")

    @asked.compensate
    async def unasked(self, asked: int | None) -> None:
        raise AssertionError("what was refused has no effect, so there is nothing to undo")


def test_a_refusal_is_never_retried_and_its_own_step_needs_no_undo(tmp_path: Path) -> None:
    async def main() -> None:
        FAILURES["asked"] = 0
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            outcome = await within((await node.start(Refusing(), id="r")).outcome())

            assert (outcome == finality.COMPENSATED, outcome.because) == (True, "sold out")
            assert FAILURES["asked"] == 1
            assert await effects(node) == ["paid", "unpaid"]

    asyncio.run(main())


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


# ── Lists ───────────────────────────────────────────────────────────────────────────────────

AT_ONCE: list[int] = [0, 0]


@dataclass(frozen=True)
class Many(finality.Saga):
    songs: list[str]
    bad: str = ""

    @finality.step
    def begun(self, tx: finality.SyncTx) -> int:
        return len(self.songs)

    @finality.step(each="songs", at_once=3, retry=ONCE)
    async def licence(self, item: str, begun: int) -> str:
        AT_ONCE[0] += 1
        AT_ONCE[1] = max(AT_ONCE)
        try:
            await asyncio.sleep(0.001)
        finally:
            AT_ONCE[0] -= 1
        if item == self.bad:
            raise finality.Refused(f"no licence for {item}")
        return item.upper()

    @licence.compensate
    def unlicence(self, tx: finality.SyncTx, item: str, licence: str | None) -> None:
        put(tx, f"-{item} {licence}")

    @finality.step
    def sold(self, tx: finality.SyncTx, licence: list[str]) -> str:
        return ",".join(licence)


def test_a_step_runs_for_each_item_and_never_more_than_so_many_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        AT_ONCE[:] = [0, 0]
        songs = [f"song{number}" for number in range(20)]
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            outcome = await within((await node.start(Many(songs), id="m")).outcome())

            assert outcome.result == ",".join(song.upper() for song in songs)
            assert AT_ONCE == [0, 3]

    asyncio.run(main())


def test_when_one_item_is_refused_every_item_that_was_done_is_undone(tmp_path: Path) -> None:
    async def main() -> None:
        songs = [f"song{number}" for number in range(10)]
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            outcome = await within((await node.start(Many(songs, bad="song5"), id="m")).outcome())

            assert (outcome.failed_step, outcome.because) == ("licence[5]", "no licence for song5")
            done = {x.step for x in await told(node, "m") if isinstance(x, e.StepDone)} - {"begun"}
            undone = {x.step for x in await told(node, "m") if isinstance(x, e.CompensationDone)}
            assert done == undone
            assert len(done) >= 3
            assert len(await effects(node)) == len(done)

    asyncio.run(main())


def test_an_empty_list_is_done_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            outcome = await within((await node.start(Many([]), id="m")).outcome())

            assert outcome == finality.COMPLETED
            assert outcome.result == ""

    asyncio.run(main())


# ── What cannot be kept ─────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Large(finality.Saga):
    how: str

    @finality.step(retry=finality.Retry(attempts=5, first_seconds=60))
    def turn(self, tx: finality.SyncTx) -> str:
        put(tx, "turn")
        return "x" * 2_000_000 if self.how == "turn" else ""

    @finality.step(retry=finality.Retry(attempts=5, first_seconds=60))
    async def service(self, turn: str) -> str:
        return "x" * 2_000_000 if self.how == "service" else ""

    @service.compensate
    async def unservice(self, service: str | None, attempt: finality.Attempt) -> None:
        SEEN.append(f"{service} {attempt.undoes}")

    @finality.step(retry=finality.Retry(attempts=5, first_seconds=60))
    async def scope(self, tx: finality.Tx, service: str) -> Any:
        await tx.execute("INSERT INTO effect VALUES ('scope')")
        return object() if self.how == "scope" else "\x00" * 400_000 if self.how == "escaped" else ""


@pytest.mark.parametrize(
    "how, why",
    [
        ("turn", "too large for the journal"),
        ("service", "too large for the journal"),
        ("scope", "cannot be journaled"),
        ("escaped", "too large for the journal"),
    ],
)
def test_a_result_that_cannot_be_kept_fails_its_step_without_another_attempt(
    tmp_path: Path, how: str, why: str
) -> None:
    """The backoff is a minute, so that a second attempt would run into the time limit of the test."""

    async def main() -> None:
        SEEN.clear()
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            outcome = await within((await node.start(Large(how), id="x")).outcome())

            assert outcome == finality.COMPENSATED
            assert why in outcome.because
            assert "scope" not in await effects(node)
            if how != "turn":
                assert ["None x/service" if how == "service" else " x/service"] == SEEN

    asyncio.run(main())


def test_an_input_that_is_too_large_is_refused_at_the_start(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            with pytest.raises(finality.LimitExceeded, match="is the most"):
                await node.start(Large("x" * 2_000_000), id="x")
            with pytest.raises(finality.NotFound):
                await node.outcome("x")

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
