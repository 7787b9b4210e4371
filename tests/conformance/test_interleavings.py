"""Random interleavings of turns that succeed and fail, and of scopes, against a model of a few lines."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from finality.core.errors import VersionConflict
from finality.core.ids import StreamName, TransactionId, Version
from finality.ports.events import Published
from finality.ports.home import HomeTransaction
from tests.conformance.worlds import MEMORY, SQLITE_INLINE, AnyHome, Do, Noted, World, crash, execute

STREAMS = ("a", "b", "c")


@dataclass
class Model:
    """What is committed, or what a turn or a scope would make of it."""

    streams: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in STREAMS})
    items: set[int] = field(default_factory=set)
    witnesses: dict[str, str] = field(default_factory=dict)
    topics: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Step:
    """One thing that a turn does, on a store and on the model; it may fail on both alike."""

    kind: str
    name: str
    number: int

    def run(self, tx: HomeTransaction) -> None:
        match self.kind:
            case "append":
                events = [Noted(self.number), Noted(-self.number)]
                tx.append_to(StreamName(self.name), events, expected=Version(self.number))
            case "insert":
                tx.execute("INSERT INTO item VALUES (?)", (self.number,))
            case "abort":
                tx.execute("INSERT OR ROLLBACK INTO item VALUES (?)", (self.number,))
            case "orphan":
                tx.execute("INSERT INTO part VALUES (?)", (self.number,))
            case "testify":
                if tx.witness(TransactionId("t"), self.name, "action") is None:
                    tx.testify(TransactionId("t"), self.name, "action", str(self.number))
            case "publish":
                tx.publish(Published(self.name, "k", "t", b""))
            case "undo":
                tx.undo()
            case _:
                raise ValueError("as planned")

    def on(self, model: Model, before: Model) -> Model:
        match self.kind:
            case "append":
                if len(model.streams[self.name]) != self.number:
                    raise VersionConflict("", expected=0, actual=0)
                model.streams[self.name] += [self.number, -self.number]
            case "insert" | "abort":
                if self.number in model.items:
                    raise ValueError("not unique")
                model.items.add(self.number)
            case "orphan":
                if self.number not in model.items:
                    raise LookupError("not there at the commit")
            case "testify":
                model.witnesses.setdefault(self.name, str(self.number))
            case "publish":
                model.topics.append(self.name)
            case "undo":
                return deepcopy(before)
            case _:
                raise ValueError("as planned")
        return model


# Versions are even, so half of the appends are at the right one while a stream is short.
STEPS = st.builds(
    Step,
    st.sampled_from(
        [
            "append",
            "append",
            "append",
            "insert",
            "insert",
            "abort",
            "orphan",
            "testify",
            "publish",
            "undo",
            "fail",
        ]
    ),
    st.sampled_from(STREAMS),
    st.sampled_from([0, 2, 4, 6, 8]),
)
TURNS = st.lists(STEPS, min_size=1, max_size=4)


def applied(model: Model, steps: list[Step]) -> Model | None:
    """Return the model after a turn of *steps*; None if it fails."""
    after = deepcopy(model)
    orphans = []
    for step in steps:
        try:
            after = step.on(after, model)
        except LookupError:
            orphans.append(step.number)
        except (VersionConflict, ValueError):
            return None
        if step.kind == "undo":
            orphans.clear()
    # The rule of a part is checked at the commit, when its item may have come.
    return after if after.items.issuperset(orphans) else None


class Interleavings(RuleBasedStateMachine):
    """Drives one store in line, so that what fails once fails again."""

    kind = MEMORY

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="finality-"))
        self.world = World(self.kind, self.folder)
        self.runner = asyncio.Runner()
        self.model = Model()
        self.home: AnyHome = self.wait(self.opened())
        self.waiting: list[tuple[Do, list[Step]]] = []
        self.scope: Any = None
        self.in_scope = Model()

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(asyncio.wait_for(work, 20))

    async def opened(self) -> AnyHome:
        home = self.world.home()
        for sql in (
            "CREATE TABLE item (n INTEGER PRIMARY KEY)",
            "CREATE TABLE part (n REFERENCES item (n) DEFERRABLE INITIALLY DEFERRED)",
        ):
            turn = Do(execute(sql))
            home.submit(turn)
            await turn.done
        return home

    @rule(turns=st.lists(TURNS, min_size=1, max_size=6))
    def submit(self, turns: list[list[Step]]) -> None:
        """Queue turns; if a scope is open they wait, and otherwise share a commit."""

        async def queue() -> None:
            for steps in turns:
                turn = Do(self.work(steps))
                self.home.submit(turn)
                self.waiting.append((turn, steps))
            if self.scope is None:
                await self.settled()

        self.wait(queue())

    def work(self, steps: list[Step]) -> Callable[[HomeTransaction], None]:
        def run(tx: HomeTransaction) -> None:
            for step in steps:
                step.run(tx)

        return run

    async def settled(self) -> None:
        for turn, steps in self.waiting:
            outcome = (await asyncio.gather(turn.done, return_exceptions=True))[0]
            after = applied(self.model, steps)
            assert isinstance(outcome, Exception) is (after is None), (steps, outcome, self.model)
            assert turn.runs - turn.forgets == (after is not None)
            self.model = after or self.model
        self.waiting = []

    @precondition(lambda self: self.scope is None)
    @rule()
    def open_scope(self) -> None:
        async def begin() -> None:
            self.scope = self.home.scope("a scope")
            await self.scope.call(lambda tx: None)

        self.wait(begin())
        self.in_scope = deepcopy(self.model)

    @precondition(lambda self: self.scope is not None)
    @rule(step=STEPS.filter(lambda step: step.kind not in ("abort", "orphan")))
    def call(self, step: Step) -> None:
        """Run one statement in the scope; it goes on without one that fails."""

        async def run() -> Any:
            return (await asyncio.gather(self.scope.call(step.run), return_exceptions=True))[0]

        outcome = self.wait(run())
        after = applied(self.in_scope, [step])

        assert isinstance(outcome, Exception) is (after is None), (step, outcome)
        self.in_scope = after or self.in_scope

    @precondition(lambda self: self.scope is not None)
    @rule(is_commit=st.booleans(), last=st.none() | TURNS)
    def end_scope(self, is_commit: bool, last: list[Step] | None) -> None:
        """End the scope; the turns that waited for it run now."""

        async def end() -> None:
            if not is_commit:
                await self.scope.abort()
            else:
                turn = None if last is None else Do(self.work(last))
                after = self.in_scope if last is None else applied(self.in_scope, last)
                outcome = (await asyncio.gather(self.scope.commit(turn), return_exceptions=True))[0]

                assert isinstance(outcome, Exception) is (after is None), (last, outcome)
                self.model = after or self.model
            self.scope = None
            await self.settled()

        self.wait(end())

    @invariant()
    def what_is_committed_is_what_the_model_says(self) -> None:
        async def read() -> dict[str, list[int]]:
            return {
                name: [recorded.event.value for recorded in await self.home.read(StreamName(name))]
                for name in STREAMS
            }

        assert self.wait(read()) == self.model.streams
        assert {n for (n,) in self.wait(self.home.query("SELECT n FROM item"))} == self.model.items
        assert [topic for topic, *_ in self.wait(self.world.outbox(self.home))] == self.model.topics

    def teardown(self) -> None:
        try:
            crash(self.home)
            crash(self.wait(self.reopened()))
        finally:
            self.runner.close()
            shutil.rmtree(self.folder)

    async def reopened(self) -> AnyHome:
        """See that a crash has left what was committed."""
        other = self.world.home()
        events = (await other.page()).events
        if len(events) != sum(len(values) for values in self.model.streams.values()):
            crash(other)
            raise AssertionError(f"after a crash there is {events}, not {self.model}")
        return other


@pytest.mark.slow
@pytest.mark.parametrize("kind", [MEMORY, SQLITE_INLINE])
def test_whatever_the_interleaving_a_store_does_what_the_model_does(kind: str) -> None:
    check_interleavings(kind, 20 if kind == MEMORY else 15)


def check_interleavings(kind: str, examples: int, phases: tuple[Phase, ...] = tuple(Phase)) -> None:
    machine = type(f"On_{kind}", (Interleavings,), {"kind": kind})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=10,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            derandomize=True,
            report_multiple_bugs=False,
            phases=phases,
        ),
    )
