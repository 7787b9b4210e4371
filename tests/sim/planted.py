"""Known mistakes, planted into the engine: the tests here must catch every one of them.

python -m tests.sim.planted         prints the table of docs/internals/planted-bugs.md
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import finality
from finality.adapters.batch import Batches
from finality.adapters.memory.home_transaction import MemoryHomeTransaction
from finality.core import participant
from finality.core.errors import Refused
from finality.core.ids import Version
from finality.core.participant import Proceed, RefuseLate
from finality.core.saga import events as e
from finality.core.saga import owed
from finality.core.saga import state as saga_state
from finality.core.saga.state import Status
from finality.patterns.transaction import FunctionTurn
from finality.ports.home import HomeTransaction
from finality.ports.store import Rows
from finality.runtime import answers, asking, telling, turns, witness
from finality.runtime import drive as drive_module
from finality.runtime.arguments import call
from finality.runtime.drive import Drive
from finality.runtime.turns import StepTurn
from finality.testing import CrashFound, ServiceFaults, SimulatedService, World, crash_everywhere
from tests.sim.simulation import Broken, simulate

# Functions of the same names hide these modules behind their package.
decide = importlib.import_module("finality.core.saga.decide")
replay_module = importlib.import_module("finality.core.saga.replay")

Patch = pytest.MonkeyPatch
SEEDS_MAX = 70  # The slowest to be seen takes 64 seeds.


def no_witness_row(patch: Patch) -> None:
    """A step in another store leaves no witness."""
    patch.setattr(witness, "testify", lambda *_: None)


def witness_is_not_looked_at(patch: Patch) -> None:
    """A step in another store is asked again although its witness is there."""
    patch.setattr(witness, "known_answer", lambda tx, id, command: (None, None))


def no_version_check(patch: Patch) -> None:
    """An append takes whatever version it finds: there is no fence."""
    real = MemoryHomeTransaction.append

    def append(self: Any, key: int, events: Any, *, expected: Version, summary: Any = None) -> None:
        real(self, key, events, expected=self.head(key).version, summary=summary)

    patch.setattr(MemoryHomeTransaction, "append", append)


def taken_over_is_ignored(patch: Patch) -> None:
    """A node whose lease has ended reads that another took over, and writes on."""

    def catch_up(self: Drive, tx: HomeTransaction) -> bool:
        state, version, _ = self.tip
        news = tx.read(self.key, after=version)
        for recorded in news:
            state = saga_state.evolve(state, recorded.event)
        self.tip = (state, Version(version + len(news)), None)
        return bool(news)

    patch.setattr(Drive, "catch_up", catch_up)


def compensation_runs_twice(patch: Patch) -> None:
    """A plain compensation is called twice in its turn."""
    real = call

    def twice(*args: Any, is_undo: bool = False, **keywords: Any) -> Any:
        if is_undo:
            real(*args, is_undo=True, **keywords)
        return real(*args, is_undo=is_undo, **keywords)

    patch.setattr(turns, "call", twice)


class Deferred:
    """A transaction that puts the user's statements off."""

    def __init__(self, tx: HomeTransaction) -> None:
        self._tx = tx
        self.statements: list[tuple[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    def execute(self, sql: str, parameters: Any = ()) -> Rows:
        self.statements.append((sql, parameters))
        return Rows()

    def undo(self) -> None:
        self.statements.clear()
        self._tx.undo()


def recorded_before_its_effect(patch: Patch) -> None:
    """A plain step is recorded as done, and takes effect in a transaction of its own afterwards."""
    real = StepTurn.run

    def run(self: StepTurn, tx: Any) -> None:
        deferred: Any = Deferred(tx)
        real(self, deferred)

        def effect(later: finality.SyncTx) -> None:
            for sql, parameters in deferred.statements:
                later.execute(sql, *parameters)

        context = self._context
        asyncio.get_running_loop().call_soon(lambda: context.home.submit(FunctionTurn(effect, context.codec)))

    patch.setattr(StepTurn, "run", run)


def refusal_is_tried_again(patch: Patch) -> None:
    """A business refusal is taken for a technical failure."""
    real = answers.erred

    def erred(context: Any, drive: Drive, command: Any, error: BaseException) -> Any:
        if isinstance(error, Refused) and not isinstance(command, e.Compensate):
            error = RuntimeError(str(error))
        return real(context, drive, command, error)

    for module in (turns, asking, telling):
        patch.setattr(module, "erred", erred)


def acknowledged_before_the_commit(patch: Patch) -> None:
    """Every turn hears that it is durable while the commit is still under way."""
    real = Batches.flush

    def flush(self: Any) -> None:
        if getattr(self, "is_late", False):
            return
        commit, engine = self.commit, self._engine
        self.commit = lambda: None
        try:
            real(self)
        finally:
            self.commit = commit
        self.is_late = True

        def late() -> None:
            self.is_late = False
            if engine._database.holder is engine:
                commit()

        asyncio.get_running_loop().call_later(0.0005, late)

    patch.setattr(Batches, "flush", flush)


def lost_answer_means_no_effect(patch: Patch) -> None:
    """When nobody knows whether a step took effect, it is taken for one that did not."""
    real = saga_state.evolve

    def evolve(state: Any, event: Any) -> Any:
        if isinstance(event, e.StepLost):
            return saga_state._changed(state, event.step, status=Status.REFUSED)
        return real(state, event)

    for module in (saga_state, decide, drive_module, replay_module):
        patch.setattr(module, "evolve", evolve)


def late_action_takes_effect(patch: Patch) -> None:
    """An action that comes after its own compensation runs."""
    real = participant.answer_to

    def answer_to(found: Any, operation: Any) -> Any:
        reply = real(found, operation)
        return Proceed() if isinstance(reply, RefuseLate) else reply

    patch.setattr(witness, "answer_to", answer_to)


def undone_in_any_order(patch: Patch) -> None:
    """A step is compensated while what stands on it is still done."""

    def backward(state: Any) -> Iterator[Any]:
        for step in state.graph.steps:
            for name, branch in owed._runs(state, step):
                command = owed._undo_command(step, name, branch)
                if command is not None:
                    yield command

    patch.setattr(owed, "_backward", backward)
    patch.setattr(decide, "is_free", lambda state, name: True)


@dataclass(frozen=True)
class Planted:
    """A mistake, and what catches it beside ``crash_everywhere``, which catches all of them.

    Attributes:
        is_simulated: Whether the simulation sees it within ``SEEDS_MAX`` seeds.
    """

    plant: Callable[[Patch], None]
    is_simulated: bool = True

    @property
    def sentence(self) -> str:
        """Return the mistake in a sentence."""
        assert self.plant.__doc__ is not None, "a planted mistake says what it is"
        return self.plant.__doc__.rstrip(".")


PLANTED = (
    Planted(no_witness_row),
    Planted(witness_is_not_looked_at),
    Planted(no_version_check),
    Planted(taken_over_is_ignored),
    Planted(compensation_runs_twice),
    Planted(recorded_before_its_effect),
    # A step that is asked again after a crash looks the same, so only a run without one shows it.
    Planted(refusal_is_tried_again, is_simulated=False),
    Planted(acknowledged_before_the_commit),
    Planted(lost_answer_means_no_effect),
    # It takes a pause in the one moment in which the saga turns back while the action is on its way.
    Planted(late_action_takes_effect, is_simulated=False),
    Planted(undone_in_any_order),
)

shop = SimulatedService("shop", ServiceFaults(seconds_max=0.05))


@dataclass(frozen=True)
class Purchase(finality.Saga):
    """A step of every kind: home, another store, a service, plain and async."""

    price: int

    @finality.step
    def paid(self, tx: finality.SyncTx) -> int:
        tx.execute("UPDATE account SET balance = balance - ?", self.price)
        return self.price

    @paid.compensate
    def refunded(self, tx: finality.SyncTx, paid: int) -> None:
        tx.execute("UPDATE account SET balance = balance + ?", paid)

    @finality.step(at="bank")
    async def booked(self, tx: finality.Tx, paid: int, attempt: finality.Attempt) -> int:
        rate = await shop.ask(f"rate for {attempt.key}", lambda: 1)
        await tx.execute("UPDATE account SET balance = balance + ?", paid * rate)
        return paid

    @booked.compensate
    async def unbooked(self, tx: finality.Tx, booked: int) -> None:
        await tx.execute("UPDATE account SET balance = balance - ?", booked)

    @finality.step(at="bank")
    def counted(self, tx: finality.SyncTx, paid: int) -> int:
        tx.execute("UPDATE sales SET number = number + 1")
        return 1

    @counted.compensate
    def uncounted(self, tx: finality.SyncTx, counted: int) -> None:
        tx.execute("UPDATE sales SET number = number - ?", counted)

    @finality.step
    async def reserved(self, paid: int, attempt: finality.Attempt) -> str:
        return await shop.ask(attempt.key, lambda: "shelf 3")

    @reserved.compensate
    async def released(self, reserved: str | None, attempt: finality.Attempt) -> None:
        assert attempt.undoes is not None, "a compensation knows what it undoes"
        await shop.undo(attempt.undoes, lambda shelf: None)

    @finality.pivot
    async def shipped(self, tx: finality.Tx, booked: int, counted: int, reserved: str) -> str:
        await tx.execute("INSERT INTO parcel VALUES (?)", reserved)
        return reserved


def open_shop(world: World) -> None:
    """Create the tables."""
    shop.reset()
    world.execute("CREATE TABLE parcel (shelf TEXT)")
    world.execute("CREATE TABLE sales (number INTEGER)", at="bank")
    world.execute("INSERT INTO sales VALUES (0)", at="bank")
    for store in (None, "bank"):
        world.execute("CREATE TABLE account (balance INTEGER)", at=store)
        world.execute("INSERT INTO account VALUES (100)", at=store)


def all_or_nothing(world: World) -> None:
    """The user's own invariant."""
    parcels = world.query("SELECT count(*) FROM parcel").scalar()
    found = (
        world.query("SELECT balance FROM account").scalar(),
        world.query("SELECT balance FROM account", at="bank").scalar(),
        world.query("SELECT number FROM sales", at="bank").scalar(),
        sum(key.endswith("/reserved") for key in shop.effects),
    )
    expected = (93, 107, 1, 1) if parcels else (100, 100, 0, 0)
    assert found == expected, f"{parcels} parcels, and {found} in the books"


def caught_by_crashes(plant: Callable[[Patch], None]) -> str | None:
    """Return what ``crash_everywhere`` says of the mistake; None if it does not see it."""
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        try:
            crash_everywhere(Purchase(7), setup=open_shop, invariants=all_or_nothing, stores=["bank"])
        except CrashFound as found:
            return str(found)
    return None


def caught_by_simulation(plant: Callable[[Patch], None]) -> tuple[int, str] | None:
    """Return how many seeds it took to catch the mistake, and what was seen; None if it was not."""
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        for seed in range(1, SEEDS_MAX + 1):
            try:
                simulate(seed)
            except Broken as broken:
                return seed, str(broken)
    return None


def row(planted: Planted) -> str:
    """Return the mistake's row of the table."""
    crashes = (caught_by_crashes(planted.plant) or "").splitlines()
    simulated = caught_by_simulation(planted.plant) if planted.is_simulated else None
    runs, _, seen = crashes[0].partition("in run ")[2].partition(": ") if crashes else ("–", "", "–")
    seeds = str(simulated[0]) if simulated else "–"
    seen = re.sub(r"\b\w+-\d+-([0-9a-f]{6})\b", "one node", seen.split("; ")[0].strip(), count=1)
    seen = re.sub(r"\b\w+-\d+-([0-9a-f]{6})\b", "another", seen)
    return f"| {planted.sentence} | {runs} | {seeds} | {seen} |"


def main() -> None:
    """Print the table of docs/internals/planted-bugs.md."""
    logging.disable(logging.CRITICAL)
    print("| planted mistake | `crash_everywhere`: runs | simulation: seeds | what is seen first |")
    print("| --- | --: | --: | --- |")
    for planted in PLANTED:
        print(row(planted), flush=True)


if __name__ == "__main__":
    main()
