"""The promises of ``ports.store``: scopes, kept by every adapter."""

from __future__ import annotations

import asyncio

import pytest

from finality.adapters import group_commit
from finality.core.errors import TransactionAborted, Unavailable
from finality.ports.environment import COMMIT_AFTER
from finality.ports.store import StatementRefused
from tests.conformance.tables import ABORTING, CONSTRAINT, insert, items, table
from tests.conformance.worlds import AnyHome, Do, World, append_to, do, execute
from tests.integration.kit import eventually

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
        assert await items(home) == [1]
        assert world.environment.reached[COMMIT_AFTER] - before == 1

    world.run(main)


def test_nobody_sees_what_a_scope_has_not_committed(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        scope = home.scope("a scope")
        await scope.call(insert(1))
        await scope.call(append_to("a", 1))

        assert await items(home) == await items(world.home()) == []
        assert (await home.page()).events == []

        await scope.commit()

        assert await items(home) == await items(world.home()) == [1]
        assert len((await home.page()).events) == 1

    world.run(main)


def test_a_scope_that_aborts_leaves_nothing(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        scope = home.scope("a scope")
        await scope.call(insert(1))
        await scope.call(append_to("a", 1))
        await scope.abort()

        assert await items(home) == []
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

        assert await items(home) == [1, 2]

    world.run(main)


def test_a_scope_whose_statement_aborted_its_transaction_is_over(embedded: World) -> None:
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
        assert await items(home) == []
        await scope.abort()

    embedded.run(main)


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
        assert await items(home) == []
        assert await do(home, insert(1)) == []

    world.run(main)


def test_a_scope_that_breaks_a_deferred_rule_leaves_no_event(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        scope = home.scope("a scope")
        await scope.call(append_to("a", 1))
        with pytest.raises(CONSTRAINT):
            await scope.commit(Do(execute("INSERT INTO part VALUES (99)")))

        assert (await home.page()).events == []

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
        assert await items(home) == []

    world.run(main)


def test_a_scope_that_has_ended_takes_nothing_more(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        for end in ("commit", "abort"):
            scope = home.scope("a scope")
            await scope.call(insert(len(await items(home))))
            await getattr(scope, end)()
            with pytest.raises(StatementRefused, match="has ended"):
                await scope.call(insert(9))
            await scope.abort()

        assert await items(home) == [0]

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

        assert await items(home) == [0, 1, 2, 3, 4]

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

        assert await items(home) == [1, 4, 5]
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

        assert await items(home) == [2]
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

        assert 1 not in await items(home)

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

        assert len(await items(home)) == 30
        assert "turn" in order[: order.index("scope") + 3]
        assert "scope" in order[: order.index("turn") + 6]

    world.run(main)


def test_the_write_turn_of_another_store_is_waited_for(embedded: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        other = embedded.home()
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

        assert await items(home) == [1, 2, 3]

    embedded.run(main)


def test_a_write_turn_that_never_comes_is_unavailable(
    embedded: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "BUSY_SECONDS_MAX", 0.02)

    async def main(home: AnyHome) -> None:
        await table(home)
        other = embedded.home()
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
        assert await items(home) == [1, 5]

    embedded.run(main)


def test_a_write_turn_that_nobody_waits_for_any_more_is_waited_for_anew(embedded: World) -> None:
    async def main(home: AnyHome) -> None:
        await table(home)
        held = embedded.home().scope("the other's")
        await held.call(insert(1))
        writer = home._writer
        call = home.scope("given up").call(insert(2))
        await eventually(lambda: writer._busy_since is not None)
        assert isinstance(call, asyncio.Future)
        call.cancel()
        await eventually(lambda: writer._busy_since is None)
        await held.commit()

        assert await items(home) == [1]

    embedded.run(main)
