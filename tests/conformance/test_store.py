"""The promises of ``ports.store``: turns and scopes, kept by every adapter."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from typing import Any

import apsw
import pytest

from finality.adapters import batch, group_commit
from finality.core.errors import TransactionAborted, Unavailable
from finality.core.ids import TransactionId
from finality.ports.environment import COMMIT_AFTER
from finality.ports.home import HomeTransaction
from finality.ports.store import StatementRefused
from tests.conformance.worlds import AnyHome, Do, World, append_to, do, do_all, execute

CONSTRAINT = (apsw.ConstraintError, sqlite3.IntegrityError)
T1 = TransactionId("t1")


async def table(home: AnyHome) -> None:
    """Make the tables that the tests here write."""
    await do(home, execute("CREATE TABLE item (n INTEGER PRIMARY KEY, name TEXT)"))
    await do(home, execute("CREATE TABLE strict (n INTEGER PRIMARY KEY ON CONFLICT ROLLBACK)"))
    await do(
        home,
        execute("CREATE TABLE part (of INTEGER REFERENCES item (n) DEFERRABLE INITIALLY DEFERRED)"),
    )


def items(home: AnyHome) -> list[int]:
    return [n for (n,) in home.query("SELECT n FROM item ORDER BY n")]


def insert(n: int) -> Any:
    return execute("INSERT INTO item (n) VALUES (?)", n)


# ── Turns ───────────────────────────────────────────────────────────────────────────────────


def test_a_turn_writes_and_reads_its_own_writes(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)

        def work(tx: HomeTransaction) -> Any:
            tx.execute("INSERT INTO item VALUES (?, ?)", (1, "a"))
            return tx.execute("SELECT n, name FROM item").one()

        assert await do(home, work) == (1, "a")
        assert world.home().query("SELECT name FROM item").scalar() == "a"

    world.run(main)


def test_a_turn_that_fails_leaves_nothing_and_hurts_no_neighbour(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)

        def fail(tx: HomeTransaction) -> None:
            insert(2)(tx)
            append_to("a", 1)(tx)
            tx.testify(T1, "b", "action", "x")
            tx.publish("topic", "key", "type", b"{}")
            raise ValueError("no")

        outcomes = await do_all(home, insert(1), fail, insert(3), insert(1), insert(4))

        assert [type(outcome).__name__ for outcome in outcomes[1:2]] == ["ValueError"]
        assert isinstance(outcomes[3], CONSTRAINT)
        assert items(home) == [1, 3, 4]
        assert await home.page() == []
        assert world.outbox(home) == []
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
        assert items(home) == list(range(10))
        assert home.query("SELECT * FROM part") == []
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
        assert items(home) == [1, 3]
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
        assert items(home) == [3]
        assert await home.page() == []

    world.run(main)


ABORTING = "INSERT INTO strict VALUES (1)"
FAILING = "INSERT INTO item (n) VALUES (0)"


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
        assert items(home) == [0, 5, 6]
        assert [r.stream for r in await home.page()] == ["a"]

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
        assert [r.stream for r in await home.page()] == ["c", "b", "d"]
        assert items(home) == [2]

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
        assert [r.stream for r in await home.page()] == ["b"]

    sqlite.run(main)


def test_a_turn_that_cannot_bear_its_outcome_keeps_no_other_from_hearing_its_own(world: World) -> None:
    async def main(home: AnyHome) -> None:
        bad, good = Do(append_to("a", 1)), Do(append_to("b", 1))
        bad.done.cancel()  # So that its settle fails, by a mistake of a coordinator's.
        home.submit(bad)
        home.submit(good)

        assert await good.done == 1

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


def test_a_witness_and_an_event_for_the_outbox_go_with_their_turn(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)

        def work(tx: HomeTransaction) -> None:
            tx.testify(T1, "flight", "action", "1")
            tx.publish("orders", "o1", "OrderPlaced", b'{"id":1}')

        def undone(tx: HomeTransaction) -> None:
            tx.testify(T1, "room", "action", "1")
            tx.publish("orders", "o2", "OrderPlaced", b"{}")
            tx.undo()

        await do_all(home, work, undone)

        assert world.outbox(home) == [("orders", "o1", "OrderPlaced", b'{"id":1}')]
        assert await do(home, lambda tx: tx.witness(T1, "room", "action")) is None

    world.run(main)


# ── What the user's SQL may do ──────────────────────────────────────────────────────────────

REFUSED = [
    "COMMIT",
    "ROLLBACK",
    "BEGIN IMMEDIATE",
    "END",
    "SAVEPOINT mine",
    "RELEASE finality_turn",
    "ROLLBACK TO finality_turn",
    "ATTACH ':memory:' AS other",
    "PRAGMA synchronous = OFF",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA foreign_keys = OFF",
    "PRAGMA writable_schema = ON",
    "DELETE FROM finality_event",
    "UPDATE FINALITY_STREAM SET rowid = 0",
    "INSERT INTO finality_witness DEFAULT VALUES",
    "DROP TABLE finality_lock",
    "ALTER TABLE finality_node RENAME TO mine",
    "CREATE INDEX mine ON finality_event (data)",
    "CREATE TRIGGER mine AFTER INSERT ON finality_event BEGIN SELECT 1; END",
    "CREATE TEMP TABLE finality_event (a)",
    "CREATE TABLE Finality_mine (a)",
]


@pytest.mark.parametrize("statement", REFUSED)
def test_a_statement_that_would_break_a_promise_is_refused(world: World, statement: str) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)

        def work(tx: HomeTransaction) -> None:
            insert(1)(tx)
            append_to("a", 1)(tx)
            tx.execute(statement)

        outcomes = await do_all(home, insert(0), work, insert(2))

        assert isinstance(outcomes[1], StatementRefused), outcomes
        assert items(home) == [0, 2]
        assert await home.page() == []

    world.run(main)


ALLOWED = [
    "CREATE TABLE other (a)",
    "CREATE INDEX item_name ON item (name)",
    "CREATE TEMP TABLE scratch (a)",
    "CREATE TRIGGER log AFTER DELETE ON item BEGIN DELETE FROM part; END",
    "ALTER TABLE item ADD COLUMN price",
    "DROP TABLE part",
    "WITH RECURSIVE t (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 3) SELECT * FROM t",
    "PRAGMA defer_foreign_keys = ON",
    "PRAGMA table_info (item)",
    "SELECT name FROM pragma_table_info('item')",
    "INSERT INTO item (n) VALUES (1) RETURNING n",
    "SELECT count(*) FROM finality_witness",
]


@pytest.mark.parametrize("statement", ALLOWED)
def test_a_statement_that_breaks_nothing_is_run(world: World, statement: str) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)

        await do(home, execute(statement))

        assert await do(home, append_to("a", 1)) == 1

    world.run(main)


@pytest.mark.parametrize(
    "statement",
    ["BEGIN", "SAVEPOINT a", "INSERT INTO item (n) VALUES (1)", "PRAGMA query_only = OFF", "DROP TABLE item"],
)
def test_a_query_cannot_write_or_hold_a_snapshot(world: World, statement: str) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)

        with pytest.raises(StatementRefused):
            home.query(statement)
        await do(home, insert(7))

        assert items(home) == [7]

    world.run(main)


# ── Scopes ──────────────────────────────────────────────────────────────────────────────────


def test_a_scope_commits_what_it_wrote_and_runs_its_last_turn_in_the_same_commit(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        before = world.environment.reached[COMMIT_AFTER]
        scope = home.scope("a scope")
        await scope.call(insert(1))
        rows = await scope.call(execute("SELECT n FROM item"))
        last = Do(append_to("a", 1))
        await scope.commit(last)

        assert rows == [(1,)]
        assert last.done.result() == 1
        assert items(home) == [1]
        assert world.environment.reached[COMMIT_AFTER] - before == 1

    world.run(main)


def test_nobody_sees_what_a_scope_has_not_committed(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        scope = home.scope("a scope")
        await scope.call(insert(1))
        await scope.call(append_to("a", 1))

        assert items(home) == items(world.home()) == []
        assert await home.page() == []

        await scope.commit()

        assert items(home) == items(world.home()) == [1]
        assert len(await home.page()) == 1

    world.run(main)


def test_a_scope_that_aborts_leaves_nothing(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        scope = home.scope("a scope")
        await scope.call(insert(1))
        await scope.call(append_to("a", 1))
        await scope.abort()

        assert items(home) == []
        assert await do(home, append_to("a", 1)) == 1

    world.run(main)


def test_a_scope_goes_on_after_a_statement_that_failed(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        scope = home.scope("a scope")
        await scope.call(insert(1))
        with pytest.raises(CONSTRAINT):
            await scope.call(insert(1))
        await scope.call(insert(2))
        await scope.commit()

        assert items(home) == [1, 2]

    world.run(main)


def test_a_scope_whose_statement_aborted_its_transaction_is_over(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        await do(home, execute(ABORTING))
        scope = home.scope("a scope")
        await scope.call(insert(1))
        with pytest.raises(CONSTRAINT):
            await scope.call(execute(ABORTING))
        with pytest.raises(TransactionAborted):
            await scope.call(insert(2))
        last = Do(append_to("a", 1))
        with pytest.raises(TransactionAborted):
            await scope.commit(last)

        assert isinstance(last.done.exception(), TransactionAborted)
        assert last.runs == 0
        assert items(home) == []
        await scope.abort()

    world.run(main)


def test_a_scope_that_breaks_a_deferred_rule_leaves_nothing(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        scope = home.scope("a scope")
        await scope.call(insert(1))
        await scope.call(execute("INSERT INTO part VALUES (99)"))
        last = Do(append_to("a", 1))
        with pytest.raises(CONSTRAINT):
            await scope.commit(last)

        assert isinstance(last.done.exception(), CONSTRAINT)
        assert (last.runs, last.forgets) == (1, 1)
        assert items(home) == []
        assert await do(home, insert(1)) == []

    world.run(main)


def test_a_scope_that_breaks_a_deferred_rule_leaves_no_event(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        scope = home.scope("a scope")
        await scope.call(append_to("a", 1))
        with pytest.raises(CONSTRAINT):
            await scope.commit(Do(execute("INSERT INTO part VALUES (99)")))

        assert await home.page() == []

    world.run(main)


def test_a_scope_whose_last_turn_fails_leaves_nothing(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        scope = home.scope("a scope")
        await scope.call(insert(1))
        last = Do(append_to("a", 1, expected=5))
        with pytest.raises(TransactionAborted):
            await scope.commit(last)

        assert last.done.exception() is not None
        assert last.forgets == 1
        assert items(home) == []

    world.run(main)


def test_a_scope_that_has_ended_takes_nothing_more(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        for end in ("commit", "abort"):
            scope = home.scope("a scope")
            await scope.call(insert(len(items(home))))
            await getattr(scope, end)()
            with pytest.raises(StatementRefused, match="has ended"):
                await scope.call(insert(9))
            await scope.abort()

        assert items(home) == [0]

    world.run(main)


def test_a_scope_that_never_began_ends_at_once_and_its_last_turn_shares_a_commit(world: World) -> None:
    async def main(home: AnyHome) -> None:
        before = world.environment.reached[COMMIT_AFTER]
        await home.scope("empty").commit()
        await home.scope("empty").abort()

        assert world.environment.reached[COMMIT_AFTER] == before

        lasts = [Do(append_to(f"s{n}", n)) for n in range(50)]
        await asyncio.gather(*(home.scope("one turn").commit(last) for last in lasts))

        assert [last.done.result() for last in lasts] == [1] * 50
        assert world.environment.reached[COMMIT_AFTER] - before < 10

    world.run(main)


def test_calls_of_one_scope_may_be_under_way_together(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        scope = home.scope("a scope")
        await asyncio.gather(*(scope.call(insert(n)) for n in range(5)))
        await scope.commit()

        assert items(home) == [0, 1, 2, 3, 4]

    world.run(main)


def test_a_scope_whose_first_call_nobody_awaits_any_more_holds_up_nobody(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        holder, given_up, aborted = home.scope("holder"), home.scope("given up"), home.scope("aborted")
        await holder.call(insert(1))
        call = asyncio.ensure_future(given_up.call(insert(2)))
        other = asyncio.ensure_future(aborted.call(insert(3)))
        call.cancel()
        await aborted.abort()
        await holder.commit()
        async with asyncio.timeout(1):
            await do(home, insert(4))
            await home.scope("next").commit(Do(insert(5)))

        assert items(home) == [1, 4, 5]
        assert isinstance(other.exception(), StatementRefused)

    world.run(main)


def test_a_scope_that_takes_too_long_is_aborted_and_reported(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "SCOPE_SECONDS_MAX", 0.02)

    async def main(home: AnyHome) -> None:
        await table(home)
        scope = home.scope("step 'flight'")
        await scope.call(insert(1))
        await do(home, insert(2))
        with pytest.raises(TransactionAborted, match="step 'flight' was aborted: it held the write turn"):
            await scope.call(insert(3))
        last = Do(insert(4))
        with pytest.raises(TransactionAborted):
            await scope.commit(last)

        assert items(home) == [2]
        assert last.runs == 0

    world.run(main)

    assert "step 'flight' held the write turn" in caplog.text


def test_a_scope_expires_however_busy_the_store_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "SCOPE_SECONDS_MAX", 0.02)

    async def main(home: AnyHome) -> None:
        await table(home)
        scope = home.scope("a scope")
        await scope.call(insert(1))

        async def keep_asking() -> None:
            while True:
                await scope.call(execute("SELECT 1"))

        with pytest.raises(TransactionAborted):
            await asyncio.gather(keep_asking(), do(home, insert(2)))
        await do(home, insert(3))

        assert 1 not in items(home)

    world.run(main)


def test_scopes_and_turns_starve_neither(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        order: list[str] = []

        async def scoped(n: int) -> None:
            scope = home.scope(f"scope {n}")
            await scope.call(insert(n))
            await scope.commit()
            order.append("scope")

        async def turned(start: int) -> None:
            for n in range(10):
                await do(home, insert(start + n))
                order.append("turn")

        await asyncio.gather(*(scoped(n) for n in range(10)), turned(100), turned(200))

        assert len(items(home)) == 30
        assert "turn" in order[: order.index("scope") + 3]
        assert "scope" in order[: order.index("turn") + 6]

    world.run(main)


def test_the_write_turn_of_another_store_is_waited_for(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        other = world.home()
        scope = other.scope("the other's")
        await scope.call(insert(1))
        waiting = asyncio.ensure_future(do(home, insert(2)))
        late = home.scope("mine")
        calling = asyncio.ensure_future(late.call(insert(3)))
        for _ in range(20):
            await asyncio.sleep(0)

        assert not waiting.done()

        await scope.commit()
        await asyncio.gather(waiting, calling)
        await late.commit()

        assert items(home) == [1, 2, 3]

    world.run(main)


def test_a_write_turn_that_never_comes_is_unavailable(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "BUSY_SECONDS_MAX", 0.02)

    async def main(home: AnyHome) -> None:
        await table(home)
        other = world.home()
        held = other.scope("the other's")
        await held.call(insert(1))
        mine = home.scope("mine")
        last = Do(insert(3))
        outcomes = await asyncio.gather(
            do(home, insert(2)), mine.call(insert(4)), home.scope("m").commit(last), return_exceptions=True
        )
        await held.commit()

        assert [type(outcome) for outcome in outcomes] == [Unavailable] * 3
        assert isinstance(last.done.exception(), Unavailable)
        assert await do(home, insert(5)) == []
        assert items(home) == [1, 5]

    world.run(main)


# ── The end ─────────────────────────────────────────────────────────────────────────────────


def test_closing_settles_what_was_submitted_and_refuses_the_rest(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        turns = [Do(insert(n)) for n in range(5)]
        for turn in turns:
            home.submit(turn)
        await home.close()

        assert [turn.done.result() for turn in turns] == [[]] * 5

        late = Do(insert(9))
        home.submit(late)
        with pytest.raises(Unavailable, match="closed"):
            await late.done
        with pytest.raises(Unavailable, match="closed"):
            await home.scope("late").call(insert(9))
        with pytest.raises(Unavailable, match="closed"):
            home.query("SELECT 1")
        await home.close()

        assert items(world.home()) == [0, 1, 2, 3, 4]

    world.run(main)


def test_closing_waits_for_the_open_scope(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        scope = home.scope("a scope")
        await scope.call(insert(1))
        closing = asyncio.ensure_future(home.close())
        await asyncio.sleep(0)
        await scope.call(insert(2))
        await scope.commit()
        await closing

        assert items(world.home()) == [1, 2]

    world.run(main)


def test_closing_with_a_scope_that_nobody_ends_aborts_it_in_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "SCOPE_SECONDS_MAX", 0.02)

    async def main(home: AnyHome) -> None:
        await table(home)
        await home.scope("a scope").call(insert(1))
        await home.close()

        assert items(world.home()) == []

    world.run(main)


def test_a_store_that_is_abandoned_leaves_exactly_what_was_committed(world: World) -> None:
    if world.environment.is_threaded:
        pytest.skip("with a thread, a crash takes the process along")

    async def main(home: AnyHome) -> None:
        await table(home)
        await do(home, insert(1))
        scope = home.scope("a scope")
        await scope.call(insert(2))
        await scope.call(append_to("a", 1))
        never = Do(insert(3))
        home.submit(never)
        home.abandon()
        other = world.home()

        assert items(other) == [1]
        assert await other.page() == []
        assert await do(other, insert(2)) == []
        assert not never.done.done()

    world.run(main)


class Crash(BaseException):
    """A planted death of the process."""


@pytest.mark.parametrize("point, left", [("commit.before", [1]), ("commit.after", [1, 2])])
def test_a_crash_planted_around_the_commit_leaves_what_was_committed(
    world: World, point: str, left: list[int]
) -> None:
    if world.environment.is_threaded:
        pytest.skip("with a thread, a crash takes the process along")

    def crash(reached: str) -> None:
        if reached == point:
            raise Crash

    async def main(home: AnyHome) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: None)
        await table(home)
        await do(home, insert(1))
        world.environment.crash = crash
        dying = Do(insert(2))
        home.submit(dying)
        for _ in range(10):
            await asyncio.sleep(0)
        world.environment.crash = lambda point: None

        assert not dying.done.done()
        assert items(world.home()) == left

    world.run(main)
