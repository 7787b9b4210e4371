"""The promises of ``ports.store``: turns, the witness and the outbox, kept by every adapter."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from finality.adapters import batch
from finality.core.errors import TransactionAborted
from finality.core.ids import TransactionId
from finality.ports.events import Published
from finality.ports.home import HomeTransaction
from finality.ports.store import HOLD, Hold
from tests.conformance.tables import ABORTING, CONSTRAINT, FAILING, insert, items, table
from tests.conformance.worlds import AnyHome, Do, World, append_to, do, do_all, execute, placed

T1 = TransactionId("t1")

# ── Turns ───────────────────────────────────────────────────────────────────────────────────


def test_a_turn_writes_and_reads_its_own_writes(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)

        def work(tx: HomeTransaction) -> Any:
            tx.execute(placed(tx, "INSERT INTO item VALUES (?, ?)"), (1, "a"))
            return tx.execute("SELECT n, name FROM item").one()

        assert await do(home, work) == (1, "a")
        assert (await world.home().query("SELECT name FROM item")).scalar() == "a"

    world.run(main)


def test_a_turn_that_fails_leaves_nothing_and_hurts_no_neighbour(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)

        def fail(tx: HomeTransaction) -> None:
            insert(2)(tx)
            append_to("a", 1)(tx)
            tx.testify(T1, "b", "action", "x")
            tx.publish(Published("topic", "key", "type", b"{}"))
            raise ValueError("no")

        outcomes = await do_all(home, insert(1), fail, insert(3), insert(1), insert(4))

        assert [type(outcome).__name__ for outcome in outcomes[1:2]] == ["ValueError"]
        assert isinstance(outcomes[3], CONSTRAINT)
        assert await items(home) == [1, 3, 4]
        assert (await home.page()).events == []
        assert await world.outbox(home) == []
        assert await do(home, lambda tx: tx.witness(T1, "b", "action")) is None

    world.run(main)


def test_each_run_that_is_undone_is_forgotten_once(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)

        def fail(tx: HomeTransaction) -> None:
            raise ValueError("no")

        good, bad = Do(insert(1)), Do(fail)
        home.submit(good)
        home.submit(bad)
        outcomes = await asyncio.gather(good.done, bad.done, return_exceptions=True)

        assert isinstance(outcomes[1], ValueError)
        assert (good.runs - good.forgets, bad.runs - bad.forgets) == (1, 0)

    world.run(main)


def test_a_deferred_rule_that_is_broken_hurts_only_its_turn(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        works = [insert(n) for n in range(10)]
        works.insert(6, execute("INSERT INTO part VALUES (99)"))
        turns = [Do(work) for work in works]
        for turn in turns:
            home.submit(turn)
        outcomes = await asyncio.gather(*(turn.done for turn in turns), return_exceptions=True)

        assert isinstance(outcomes[6], CONSTRAINT)
        assert await items(home) == list(range(10))
        assert await home.query("SELECT * FROM part") == []
        assert [turn.runs - turn.forgets for turn in turns] == [1] * 6 + [0] + [1] * 4

    world.run(main)


def test_a_statement_that_aborts_the_transaction_hurts_only_its_turn(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        await do(home, execute("INSERT INTO strict VALUES (1)"))
        turns = [Do(insert(1)), Do(execute("INSERT INTO strict VALUES (1)")), Do(insert(3))]
        for turn in turns:
            home.submit(turn)
        outcomes = await asyncio.gather(*(turn.done for turn in turns), return_exceptions=True)

        assert isinstance(outcomes[1], CONSTRAINT)
        assert await items(home) == [1, 3]
        assert [turn.runs - turn.forgets for turn in turns] == [1, 0, 1]

    world.run(main)


def test_what_follows_a_statement_that_aborted_the_transaction_is_not_written_either(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        await do(home, execute("INSERT INTO strict VALUES (1)"))

        def go_on(tx: HomeTransaction) -> None:
            insert(1)(tx)
            # As user code does that knows nothing of ON CONFLICT ROLLBACK, and goes on whatever comes.
            with contextlib.suppress(*CONSTRAINT):
                tx.execute("INSERT INTO strict VALUES (1)")
            for work in (insert(2), append_to("a", 1)):
                with contextlib.suppress(TransactionAborted):
                    work(tx)

        outcomes = await do_all(home, insert(3), go_on)

        assert isinstance(outcomes[1], TransactionAborted)
        assert await items(home) == [3]
        assert (await home.page()).events == []

    world.run(main)


@pytest.mark.parametrize("statement", [ABORTING, FAILING])
def test_a_turn_that_undoes_its_failure_may_write_again(world: World, statement: str) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        await do_all(home, execute(ABORTING), execute(FAILING))

        def work(tx: HomeTransaction) -> None:
            insert(1)(tx)
            try:
                tx.execute(statement)
            except CONSTRAINT:
                tx.undo()
            append_to("a", 1)(tx)

        outcomes = await do_all(home, insert(5), work, insert(6))

        assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []
        assert await items(home) == [0, 5, 6]
        assert [r.stream for r in (await home.page()).events] == ["a"]

    world.run(main)


def test_a_turn_may_undo_what_it_appended(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)

        def work(tx: HomeTransaction) -> None:
            append_to("a", 1)(tx)
            insert(1)(tx)
            tx.undo()
            append_to("b", 1)(tx)
            insert(2)(tx)

        outcomes = await do_all(home, append_to("c", 1), work, append_to("d", 1))

        assert [outcome for outcome in outcomes if isinstance(outcome, Exception)] == []
        assert [r.stream for r in (await home.page()).events] == ["c", "b", "d"]
        assert await items(home) == [2]

    world.run(main)


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), StopIteration(1)])
def test_whatever_a_turn_raises_on_the_writers_thread_its_caller_hears_of(
    sqlite: World, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not sqlite.environment.is_threaded:
        pytest.skip("in line it ends the event loop, as anywhere else")

    async def main(home: AnyHome) -> None:
        def fail(tx: HomeTransaction) -> None:
            append_to("a", 1)(tx)
            raise error

        turn, next_turn = Do(fail), Do(append_to("b", 1))
        heard: list[BaseException | None] = []
        monkeypatch.setattr(turn, "settle", heard.append)
        home.submit(turn)
        home.submit(next_turn)
        await next_turn.done

        assert heard == [error]
        assert [r.stream for r in (await home.page()).events] == ["b"]

    sqlite.run(main)


def test_a_turn_that_cannot_bear_its_outcome_keeps_no_other_from_hearing_its_own(world: World) -> None:
    async def main(home: AnyHome) -> None:
        bad, good = Do(append_to("a", 1)), Do(append_to("b", 1))
        bad.done.cancel()  # So that its settle fails, by a mistake of a coordinator's.
        home.submit(bad)
        home.submit(good)

        assert await good.done == 1

    world.run(main)


class Chain(Do):
    """A turn that does one work after the other, each when the one before is durable."""

    def __init__(self, *works: Callable[[HomeTransaction], Any]) -> None:
        super().__init__(works[0])
        self.left = list(works[1:])

    def following(self) -> Chain | None:
        if not self.left:
            return None
        self.work = self.left.pop(0)
        return self


def test_a_turn_that_goes_on_hears_once_that_all_of_it_is_durable(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        chain, neighbour = (
            Chain(insert(1), insert(2), lambda tx: tx.execute("SELECT n FROM item")),
            Do(insert(9)),
        )
        home.submit(chain)
        home.submit(neighbour)

        assert sorted(await chain.done) == [(1,), (2,), (9,)]
        await neighbour.done
        assert (chain.runs, chain.forgets) == (3, 0)

    world.run(main)


class Followed(Do):
    """A turn that another one follows."""

    def __init__(self, work: Callable[[HomeTransaction], Any], other: Do) -> None:
        super().__init__(work)
        self.other = other

    def following(self) -> Do:
        return self.other


def test_a_turn_that_another_follows_is_durable_whatever_becomes_of_that_one(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        bad = Do(insert(1))
        followed = Followed(insert(1), bad)
        home.submit(followed)

        with pytest.raises(CONSTRAINT):
            await bad.done
        await followed.done
        assert (followed.runs, followed.forgets) == (1, 0)
        assert (bad.runs - bad.forgets, await items(home)) == (0, [1])

    world.run(main)


@pytest.mark.parametrize("bad", [insert(1), execute("INSERT INTO part VALUES (99)")], ids=["turn", "commit"])
def test_what_a_turn_made_durable_stays_when_it_fails_further_on(
    world: World, bad: Callable[[HomeTransaction], Any]
) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        chain = Chain(insert(1), bad, insert(3))
        home.submit(chain)

        with pytest.raises(CONSTRAINT):
            await chain.done
        assert await items(home) == [1]
        assert chain.runs - chain.forgets == 1
        await do(home, insert(4))
        assert await items(home) == [1, 4]

    world.run(main)


def test_a_slow_turn_is_reported_by_name(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "TURN_SECONDS_MAX", -1.0)

    async def main(home: AnyHome) -> None:
        with caplog.at_level(logging.WARNING, "finality.store"):
            await do(home, append_to("a", 1), "step 'flight' of saga t1")

    world.run(main)

    assert "step 'flight' of saga t1 held the write turn of store" in caplog.text


# ── Witness and outbox ──────────────────────────────────────────────────────────────────────


def test_a_witness_answers_what_was_testified_and_nothing_else(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await do(home, lambda tx: tx.testify(T1, "flight", "action", '"x"'))

        def look(tx: HomeTransaction) -> list[str | None]:
            return [
                tx.witness(T1, "flight", "action"),
                tx.witness(T1, "flight", "compensation"),
                tx.witness(T1, "room", "action"),
                tx.witness(TransactionId("t2"), "flight", "action"),
            ]

        assert await do(home, look) == ['"x"', None, None, None]
        assert await do(world.home(), look) == ['"x"', None, None, None]

    world.run(main)


def test_what_is_retracted_was_never_testified(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await do(home, lambda tx: tx.testify(T1, "flight", "action", "1"))
        await do(home, lambda tx: tx.retract(T1, "flight", "action"))
        await do(home, lambda tx: tx.retract(T1, "flight", "action"))

        assert await do(home, lambda tx: tx.witness(T1, "flight", "action")) is None

        await do(home, lambda tx: tx.testify(T1, "flight", "action", "2"))

        assert await do(home, lambda tx: tx.witness(T1, "flight", "action")) == "2"

    world.run(main)


def hold(name: str, tx: HomeTransaction) -> None:
    tx.testify(T1, name, HOLD, f"hold {name}")


def test_holds_are_listed_oldest_first_until_they_are_retracted(world: World) -> None:
    async def main(home: AnyHome) -> None:
        for name in ("b", "a", "c"):
            world.environment.time += 1
            await do(home, partial(hold, name))
        await do(home, lambda tx: tx.testify(T1, "d", "action", "no hold"))

        assert await do(world.home(), lambda tx: tx.holds()) == [
            Hold(T1, "b", "hold b", 1_001.0),
            Hold(T1, "a", "hold a", 1_002.0),
            Hold(T1, "c", "hold c", 1_003.0),
        ]

        def work(tx: HomeTransaction) -> list[str]:
            tx.retract(T1, "a", HOLD)
            return [hold.branch for hold in tx.holds()]

        def undone(tx: HomeTransaction) -> None:
            tx.retract(T1, "b", HOLD)
            tx.undo()

        assert await do_all(home, work, undone) == [["b", "c"], None]
        assert [hold.branch for hold in await do(home, lambda tx: tx.holds())] == ["b", "c"]

    world.run(main)


def test_a_witness_and_an_event_for_the_outbox_go_with_their_turn(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)

        def work(tx: HomeTransaction) -> None:
            tx.testify(T1, "flight", "action", "1")
            tx.publish(Published("orders", "o1", "OrderPlaced", b'{"id":1}'))

        def undone(tx: HomeTransaction) -> None:
            tx.testify(T1, "room", "action", "1")
            tx.publish(Published("orders", "o2", "OrderPlaced", b"{}"))
            tx.undo()

        await do_all(home, work, undone)

        assert await world.outbox(home) == [("orders", "o1", "OrderPlaced", b'{"id":1}')]
        assert await do(home, lambda tx: tx.witness(T1, "room", "action")) is None

    world.run(main)
