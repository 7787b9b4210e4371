"""The semantic lock itself: who holds it, what waiting for it costs, deadlock, and kill -9."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from textwrap import dedent

import pytest

import finality
from finality.core.saga import events as e
from tests.anomalies.stage import SECONDS_MAX, WAITS, Stage, play, sqlite_url

GO = finality.signal("go")
TWICE = finality.Retry(attempts=2, first_seconds=0.01, factor=1.0)
EAGER = finality.Retry(attempts=None, first_seconds=0.005, factor=1.0)


@dataclass(frozen=True)
class Hold(finality.Saga):
    """Takes a lock, then waits to be told to end."""

    resource: str = "seat/12A"
    is_refused: bool = False

    @finality.step
    def locked(self, tx: finality.SyncTx) -> None:
        tx.lock(self.resource)
        tx.lock(self.resource)  # What is held already may be asked for again.

    @finality.pivot(wait_for=GO)
    def ended(self, tx: finality.SyncTx, locked: None) -> None:
        if self.is_refused:
            raise finality.Refused("no")


@dataclass(frozen=True)
class HoldAsync(finality.Saga):
    """The same in an async step."""

    @finality.step(retry=TWICE)
    async def locked(self, tx: finality.Tx) -> None:
        await tx.lock("seat/12A")

    @finality.pivot(wait_for=GO)
    def ended(self, tx: finality.SyncTx, locked: None) -> None: ...


@dataclass(frozen=True)
class Want(finality.Saga):
    """Wants a lock, and gives up after two attempts."""

    @finality.step(retry=TWICE)
    def locked(self, tx: finality.SyncTx) -> None:
        tx.lock("seat/12A")


async def holder(stage: Stage, resource: str = "seat/12A") -> str | None:
    held = await stage.node.run(lambda tx: tx.lock_holder(resource))
    return held.transaction_id if held else None


@pytest.mark.parametrize(
    "saga", [Hold(), Hold(is_refused=True), HoldAsync()], ids=["done", "undone", "async"]
)
def test_it_is_held_from_its_step_to_the_end_of_the_saga(url: str, saga: finality.Saga) -> None:
    async def main(stage: Stage) -> None:
        await stage.start(saga, "holder", until=WAITS)

        assert await holder(stage) == "holder"

        await stage.go_on("holder")

        assert await holder(stage) is None

    play(url, main)


def test_whoever_is_kept_waiting_is_told_by_whom_and_since_when(url: str) -> None:
    async def main(stage: Stage) -> None:
        await stage.start(Hold(), "holder", until=WAITS)
        await stage.start(Want(), "other")
        outcome = await stage.node.outcome("other")
        failures = [r.event for r in await stage.node.history("other") if isinstance(r.event, e.StepFailed)]

        assert outcome == finality.COMPENSATED
        assert re.fullmatch(
            r"'seat/12A' is locked: saga holder holds it since [-0-9]{10} [:0-9]{8} UTC and has not "
            r"ended; the step is tried again as its retry says, and `finality transaction explain holder` "
            r"tells what that saga waits for",
            outcome.because,
        )
        assert [failure.attempt for failure in failures] == [1, 2]  # Being kept out counts as an attempt.

    play(url, main)


def test_an_async_step_that_is_kept_out_is_tried_again_as_well(url: str) -> None:
    async def main(stage: Stage) -> None:
        await stage.start(Hold(), "holder", until=WAITS)
        await stage.start(HoldAsync(), "other")
        outcome = await stage.node.outcome("other")

        assert (outcome.status, outcome.failed_step) == (finality.COMPENSATED, "locked")
        assert await holder(stage) == "holder"

    play(url, main)


@dataclass(frozen=True)
class LockTwo(finality.Saga):
    """Locks one thing, waits, and locks another, as often as it is told to try."""

    first: str
    second: str
    is_stubborn: bool

    @finality.step
    def one(self, tx: finality.SyncTx) -> None:
        tx.lock(self.first)

    @finality.step(wait_for=GO, when=lambda self: self.is_stubborn, retry=EAGER)
    def stubborn(self, tx: finality.SyncTx, one: None) -> None:
        tx.lock(self.second)

    @finality.step(wait_for=GO, when=lambda self: not self.is_stubborn, retry=TWICE)
    def modest(self, tx: finality.SyncTx, one: None) -> None:
        tx.lock(self.second)


def test_of_two_sagas_in_a_deadlock_the_one_whose_attempts_end_is_undone(url: str) -> None:
    async def main(stage: Stage) -> None:
        await stage.start(LockTwo("a", "b", is_stubborn=True), "stubborn", until=WAITS)
        await stage.start(LockTwo("b", "a", is_stubborn=False), "modest", until=WAITS)
        await stage.node.signal("stubborn", "go")
        await stage.reached("stubborn", e.StepFailed)
        modest = (await stage.go_on("modest"))[0]
        stubborn = await stage.node.outcome("stubborn")

        assert (stubborn.status, modest.status) == (finality.COMPLETED, finality.COMPENSATED)
        assert modest.because.startswith("'a' is locked: saga stubborn holds it")
        assert [await holder(stage, "a"), await holder(stage, "b")] == [None, None]

    play(url, main)


def test_two_sagas_that_give_up_alike_never_wait_for_ever(url: str) -> None:
    async def main(stage: Stage) -> None:
        await stage.start(LockTwo("a", "b", is_stubborn=False), "left", until=WAITS)
        await stage.start(LockTwo("b", "a", is_stubborn=False), "right", until=WAITS)
        await stage.node.signal("left", "go")
        await stage.node.signal("right", "go")
        outcomes = [await stage.node.outcome("left"), await stage.node.outcome("right")]

        assert finality.COMPENSATED in outcomes
        assert [await holder(stage, "a"), await holder(stage, "b")] == [None, None]

    play(url, main)


@dataclass(frozen=True)
class Stubborn(finality.Saga, deadline=timedelta(milliseconds=100)):
    """Would try for ever; only its deadline ends it."""

    @finality.step(retry=EAGER)
    def locked(self, tx: finality.SyncTx) -> None:
        tx.lock("seat/12A")


def test_a_deadline_ends_a_wait_without_end(url: str) -> None:
    async def main(stage: Stage) -> None:
        await stage.start(Hold(), "holder", until=WAITS)
        await stage.start(Stubborn(), "stubborn")
        outcome = await stage.node.outcome("stubborn")

        assert (outcome.status, outcome.because) == (finality.COMPENSATED, "the deadline passed")

    play(url, main)


@dataclass(frozen=True)
class Parent(finality.Saga):
    """Locks a thing, lets its child lock that and another, and waits."""

    @finality.step
    def own(self, tx: finality.SyncTx) -> None:
        tx.lock("parent's")

    @finality.child
    def child(self, own: None) -> Child:
        return Child()

    @finality.pivot(wait_for=GO)
    def ended(self, tx: finality.SyncTx, child: None) -> None: ...


@dataclass(frozen=True)
class Child(finality.Saga):
    """Locks what its parent has, and something of its own."""

    @finality.step
    def locked(self, tx: finality.SyncTx) -> None:
        tx.lock("parent's")
        tx.lock("child's")


def test_what_a_child_has_locked_stays_locked_until_its_parent_has_ended(url: str) -> None:
    """Until then the child may be undone, so nobody may build on what it did."""

    async def main(stage: Stage) -> None:
        await stage.start(Parent(), "parent", until=WAITS)
        child = (await stage.node.outcome("parent/child")).status

        assert child is finality.COMPLETED
        assert [await holder(stage, "parent's"), await holder(stage, "child's")] == ["parent", "parent"]

        await stage.go_on("parent")

        assert [await holder(stage, "parent's"), await holder(stage, "child's")] == [None, None]

    play(url, main, sagas=[Parent, Child])


def test_a_lock_belongs_to_a_saga_and_its_home_store(tmp_path: Path) -> None:
    async def main(stage: Stage) -> None:
        with pytest.raises(
            finality.DefinitionError, match="cannot lock 'seat/12A': semantic locks belong to sagas"
        ):
            await stage.node.run(lambda tx: tx.lock("seat/12A"))
        with pytest.raises(finality.DefinitionError, match="semantic locks are kept in the home store"):
            await stage.node.run(lambda tx: tx.lock_holder("seat/12A"), at="bank")

        async with stage.node.transaction() as tx:
            assert await tx.lock_holder("seat/12A") is None

    play("memory://", main, stores={"bank": sqlite_url(tmp_path, "bank")})


KILLED = """
    import os, signal
    from datetime import timedelta
    from tests.anomalies.test_semantic_lock import Hold
    from tests.anomalies.stage import WAITS, play

    async def main(stage):
        await stage.start(Hold(), "holder", until=WAITS)
        os.kill(os.getpid(), signal.SIGKILL)

    play({url!r}, main, lease=timedelta(seconds=0.3))
"""


@pytest.mark.slow
def test_it_survives_kill_9_and_goes_with_whoever_takes_the_saga_over(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path)
    program = dedent(KILLED).format(url=url)
    killed = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[2], timeout=SECONDS_MAX, check=False
    )

    assert killed.returncode == -signal.SIGKILL, os.strerror(abs(killed.returncode))

    async def main(stage: Stage) -> None:
        assert await holder(stage) == "holder"

        await stage.start(Want(), "other")

        assert await stage.node.outcome("other") == finality.COMPENSATED

        await stage.reached("holder", e.TakenOver)

        assert await holder(stage) == "holder"
        assert await stage.go_on("holder") == [finality.COMPLETED]
        assert await holder(stage) is None

        await stage.start(Want(), "another")

        assert await stage.node.outcome("another") == finality.COMPLETED

    play(url, main, sagas=[Hold, Want], lease=timedelta(seconds=0.3))
