"""Technical failures: tried again, up to the last attempt or for ever behind the pivot; time limits."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

import finality
from finality.core.saga import events as e
from tests.integration.kit import QUICK, attempts, effects, put, table, told, url_of, within

ONCE = finality.Retry(attempts=1)
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
class Misplaced(finality.Saga):
    @finality.step(at="bank")
    def seat(self, tx: finality.SyncTx) -> None:
        tx.lock("seat/12A")  # Locks are kept in the home store.


def test_a_declaration_that_cannot_hold_is_not_tried_again(tmp_path: Path) -> None:
    async def main() -> None:
        stores = {"bank": url_of(tmp_path, "bank")}
        async with finality.open_async(url_of(tmp_path), stores=stores) as node:
            outcome = await within((await node.start(Misplaced(), id="m")).outcome())

            assert outcome == finality.COMPENSATED
            assert "semantic locks" in outcome.because
            assert [x.retry_at for x in await told(node, "m") if isinstance(x, e.StepFailed)] == [None]

    asyncio.run(main())
