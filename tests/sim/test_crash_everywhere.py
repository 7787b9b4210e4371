"""crash_everywhere: what it tries, what it finds, and what it tells."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import pytest

import finality
from finality.node.async_node import AsyncNode
from finality.patterns.outcome import Handle
from finality.testing import CrashFound, SimulatedService, World, crash_everywhere

service = SimulatedService("service")


@dataclass(frozen=True)
class Note(finality.Saga):
    """One step, one compensation."""

    text: str

    @finality.step
    def noted(self, tx: finality.SyncTx) -> str:
        tx.execute("INSERT INTO note VALUES (?)", self.text)
        return self.text

    @noted.compensate
    def erased(self, tx: finality.SyncTx, noted: str) -> None:
        tx.execute("DELETE FROM note WHERE text = ?", noted)

    @finality.step
    def told(self, tx: finality.SyncTx, noted: str) -> None:
        tx.execute("SELECT 1")


def create_note(world: World) -> None:
    """Create the table."""
    service.reset()
    world.execute("CREATE TABLE note (text TEXT)")


def one_note_at_most(world: World) -> None:
    """An invariant that is kept."""
    assert len(world.query("SELECT * FROM note")) <= 1


@pytest.mark.slow
def test_each_point_is_crashed_twice_and_paused_once() -> None:
    report = crash_everywhere(
        Note("a"),
        setup=create_note,
        invariants=one_note_at_most,
        expect=finality.COMPLETED,
        also_undone=False,
    )

    # Each point: dies there; dies there and again; is paused there. And three runs untouched.
    assert report.crashes == 3 * report.points
    assert report.pauses == report.points
    assert report.runs == 3 * report.points + 3
    assert report.outcomes == {"completed": report.runs}


@pytest.mark.slow
def test_each_step_refuses_once_as_well() -> None:
    report = crash_everywhere(Note("a"), setup=create_note, invariants=one_note_at_most)

    assert set(report.outcomes) == {"completed", "compensated"}


def test_a_broken_invariant_is_reported_with_the_way_to_see_it_again() -> None:
    def no_notes(world: World) -> None:
        assert not world.query("SELECT * FROM note"), "there is a note"

    with pytest.raises(CrashFound) as found:
        crash_everywhere(Note("a"), setup=create_note, invariants=no_notes)
    with pytest.raises(CrashFound) as again:
        crash_everywhere(Note("a"), setup=create_note, invariants=no_notes, only=(3,))

    assert "invariant no_notes does not hold: there is a note" in str(found.value)
    assert "only=()" in str(found.value)
    assert "noted was done at attempt 1" in str(found.value)
    assert "its node died at point 3" in str(again.value)


def test_an_invariant_may_return_false() -> None:
    with pytest.raises(CrashFound, match="invariant <lambda> does not hold"):
        crash_everywhere(Note("a"), setup=create_note, invariants=lambda world: False)


@dataclass(frozen=True)
class TwoKeys(finality.Saga):
    """Asks a service with a key of its own making, another one each time."""

    @finality.step
    async def asked(self, attempt: finality.Attempt) -> str:
        return await service.ask(f"{attempt.key} {attempt.number}", lambda: "yes")


@pytest.mark.slow
def test_a_key_that_changes_with_the_attempt_is_found() -> None:
    def asked_once(world: World) -> None:
        assert len(service.effects) <= 1, "it was done twice"

    with pytest.raises(CrashFound, match=r"it was done twice[^$]*service\.after"):
        crash_everywhere(TwoKeys(), setup=create_note, invariants=asked_once)


@dataclass(frozen=True)
class Outside(finality.Saga):
    """Writes with a connection of its own, where no transaction of ours protects it."""

    @finality.step
    def written(self, tx: finality.SyncTx) -> None:
        tx.execute("INSERT INTO note VALUES ('in')")
        outside.append("out")


outside: list[str] = []


@pytest.mark.slow
def test_an_effect_outside_of_the_transaction_is_found() -> None:
    def both_or_neither(world: World) -> None:
        assert len(outside) == len(world.query("SELECT * FROM note")), "the effects have come apart"

    def setup(world: World) -> None:
        outside.clear()
        create_note(world)

    with pytest.raises(CrashFound, match="have come apart"):
        crash_everywhere(Outside(), setup=setup, invariants=both_or_neither)


@dataclass(frozen=True)
class Patient(finality.Saga):
    """Sleeps for a month, and waits for a word."""

    @finality.step(wait_for=finality.timer(timedelta(days=30)))
    def rested(self, tx: finality.SyncTx) -> None:
        tx.execute("SELECT 1")

    @finality.step(wait_for=finality.signal("word"))
    def heard(self, tx: finality.SyncTx, rested: None, word: str) -> str:
        tx.execute("INSERT INTO note VALUES (?)", word)
        return word


@pytest.mark.slow
def test_a_saga_that_sleeps_for_a_month_takes_no_time() -> None:
    async def say(node: AsyncNode, handle: Handle) -> None:
        await asyncio.sleep(timedelta(days=40).total_seconds())
        await node.signal(handle.id, "word", "now")

    report = crash_everywhere(
        Patient(), setup=create_note, invariants=one_note_at_most, meanwhile=say, also_undone=False
    )

    assert report.outcomes == {"completed": report.runs}


def test_a_saga_that_waits_for_what_never_comes_is_reported() -> None:
    with pytest.raises(CrashFound, match="nothing is due any more"):
        crash_everywhere(Patient(), setup=create_note, invariants=one_note_at_most)


@dataclass(frozen=True)
class Stuck(finality.Saga):
    """Cannot be undone."""

    @finality.step
    def done(self, tx: finality.SyncTx) -> None:
        tx.execute("SELECT 1")

    @done.compensate(retry=finality.Retry(attempts=2, first_seconds=0.1))
    def undone(self, tx: finality.SyncTx) -> None:
        raise RuntimeError("never")

    @finality.step
    def refused(self, tx: finality.SyncTx, done: None) -> None:
        raise finality.Refused("no")


def test_a_saga_that_gets_stuck_is_reported() -> None:
    with pytest.raises(CrashFound, match="is stuck"):
        crash_everywhere(Stuck(), setup=create_note, invariants=one_note_at_most)


def test_the_definition_is_put_back() -> None:
    """The kit stands in front of the steps while it runs, and no longer."""
    before = Note.__dict__.get("__definition__")
    crash_everywhere(Note("a"), setup=create_note, invariants=one_note_at_most, only=())

    after = Note.__dict__["__definition__"]
    assert before is None or before is after
    assert after.codes["noted"].action.function.__name__ == "noted"
