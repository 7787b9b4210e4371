"""The promises of ``ports.home.Home``: transactions, their streams and their heads."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from finality.core.errors import LimitExceeded, NotFound, VersionConflict
from finality.core.ids import TransactionId, Version, transaction_stream
from finality.core.saga import Summary
from finality.ports.home import Birth, HomeTransaction
from finality.ports.journal import EVENT_BYTES_MAX
from tests.conformance.worlds import (
    ENDED,
    N1,
    RUNNING,
    AnyHome,
    Noted,
    World,
    append,
    begin,
    do,
    do_all,
    node,
    prepare,
    renew,
)

# ── Streams and heads ───────────────────────────────────────────────────────────────────────


def test_a_new_transaction_has_a_head_and_its_events(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home, "n1")
        world.environment.time = 1_100.0
        birth = Birth(TransactionId("t1"), "Trip", "1", None, N1)
        waiting = Summary("waiting", wake_at=1_500.0)
        key = await do(home, lambda tx: tx.create(birth, [Noted(1), Noted(2)], waiting))

        head = await home.find(TransactionId("t1"))
        assert head is not None
        assert (head.key, head.id, head.kind, head.definition) == (key, "t1", "Trip", "1")
        assert (head.version, head.status, head.has_ended, head.wake_at) == (2, "waiting", False, 1_500.0)
        assert (head.driver, head.started_at, head.updated_at) == (N1, 1_100.0, 1_100.0)
        assert (head.parent, head.note) == (None, None)
        assert await home.head(key) == head == await world.home().head(key)
        assert [r.event for r in await home.load(key)] == [Noted(1), Noted(2)]
        assert await home.read(transaction_stream(TransactionId("t1"))) == await home.load(key)

    world.run(main)


def test_an_id_is_given_once(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home)
        birth = Birth(TransactionId("t1"), "Trip", "1")

        def work(tx: HomeTransaction) -> Any:
            return tx.create(birth, [Noted(1)], RUNNING)

        first, second = await do_all(home, work, work)
        third = await do(world.home(), work)

        assert isinstance(first, int)
        assert (second, third) == (None, None)
        assert len(await home.load(first)) == 1

    world.run(main)


def test_what_nobody_began_is_not_found(world: World) -> None:
    async def main(home: AnyHome) -> None:
        assert await home.find(TransactionId("t1")) is None
        assert await home.load(7) == []
        with pytest.raises(NotFound):
            await home.head(7)
        with pytest.raises(NotFound):
            await do(home, lambda tx: tx.head(7))
        with pytest.raises(VersionConflict):
            await do(home, append(7, 0))

    world.run(main)


def test_a_transaction_needs_its_definition_and_a_driver_that_has_joined(world: World) -> None:
    async def main(home: AnyHome) -> None:
        with pytest.raises(AssertionError, match="definition Trip@1 is not kept"):
            await begin(home, "t1")
        await prepare(home)
        with pytest.raises(AssertionError, match="node n1 has not joined"):
            await begin(home, "t1", driver="n1")

        assert await home.heads() == []

    world.run(main)


def test_names_learned_in_a_turn_that_failed_are_forgotten(world: World) -> None:
    async def main(home: AnyHome) -> None:
        def fail(tx: HomeTransaction) -> None:
            tx.renew(node("n1"))
            tx.define("Trip", "1", "{}")
            tx.create(Birth(TransactionId("t0"), "Trip", "1", None, N1), [Noted(1)], RUNNING)
            raise ValueError("no")

        await do_all(home, fail)
        await do(home, lambda tx: tx.define("Other", "1", "{}"))
        await do(home, renew("n2"))
        with pytest.raises(AssertionError, match="not kept"):
            await begin(home, "t1", driver="n1")
        await prepare(home, "n2")
        key = await begin(home, "t1", driver="n2")

        assert (await home.head(key)).driver == "n2"
        assert (await home.head(key)).kind == "Trip"
        assert [r.by for r in await home.load(key)] == ["n2"]

    world.run(main)


def test_a_transaction_that_goes_on_running_forgets_that_it_was_woken(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home, "n1")
        key = await begin(home, "t1", driver="n1")
        await do(home, append(key, 1))
        await do(home, lambda tx: tx.wake(key))
        await do(home, append(key, 2))

        head = await home.head(key)
        assert (head.version, head.status, head.wake_at) == (3, "running", None)
        with pytest.raises(VersionConflict):
            await do(home, append(key, 2))

    world.run(main)


def test_an_append_moves_the_head_along(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home, "n1")
        key = await begin(home, "t1", driver="n1")
        world.environment.time = 1_200.0
        await do(home, append(key, 1, Summary("waiting", wake_at=1_300.0), 2, 3))

        head = await home.head(key)
        assert (head.version, head.status, head.wake_at) == (3, "waiting", 1_300.0)
        assert (head.started_at, head.updated_at, head.driver) == (1_000.0, 1_200.0, N1)
        assert [r.event.value for r in await home.load(key, after=Version(1))] == [2, 3]

    world.run(main)


def test_an_append_without_a_summary_leaves_the_head_as_it_is(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home, "n1")
        before = await home.head(await begin(home, "t1", driver="n1", summary=Summary("stuck", wake_at=5.0)))
        key = before.key
        world.environment.time = 1_200.0
        await do(home, append(key, 1, None, 2, 3))
        after = replace(before, version=Version(3), updated_at=1_200.0)

        assert after == await home.head(key) == await world.home().find(TransactionId("t1"))
        assert [after] == await home.heads(status="stuck", is_open=True)
        assert await do(home, lambda tx: tx.head(key)) == after
        assert [r.version for r in await home.load(key)] == [1, 2, 3]

        await do(home, append(key, 3, ENDED))
        await do(home, append(key, 4, None))

        ended = await home.head(key)
        assert (ended.version, ended.status, ended.has_ended) == (5, "completed", True)

    world.run(main)


@pytest.mark.parametrize("summary", [None, RUNNING])
def test_of_two_writers_of_one_version_one_is_refused(world: World, summary: Summary | None) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home)
        key = await begin(home, "t1")
        other = world.home()
        outcomes = await asyncio.gather(
            do(home, append(key, 1, None, 2)), do(other, append(key, 1, summary, 3)), return_exceptions=True
        )

        assert {type(outcome) for outcome in outcomes} == {type(None), VersionConflict}
        assert len(await home.load(key)) == (await other.head(key)).version == 2
        for wrong in (append(key, 1, None), append(key, 3, None), append(key + 1, 1, None)):
            with pytest.raises(VersionConflict):
                await do(other, wrong)
        assert await do_all(other, append(key, 2, None), append(key, 3, None)) == [None, None]

    world.run(main)


def test_what_several_tell_one_transaction_at_once_is_all_told(world: World) -> None:
    """Each decides on what it has read, without a summary or with one, and all go on with what there is."""

    async def main(home: AnyHome) -> None:
        await prepare(home)
        key = await begin(home, "t1")

        def tell_one(value: int, summary: Summary | None, tx: HomeTransaction) -> None:
            append(key, len(tx.read(key)), summary, value)(tx)

        async def tell(store: AnyHome, first: int, summary: Summary | None) -> None:
            for value in range(first, first + 8):
                await do(store, partial(tell_one, value, summary))

        await asyncio.gather(tell(home, 10, None), tell(world.home(), 20, Summary("waiting", 0.0)))
        told = await home.load(key)

        assert [r.version for r in told] == [*range(1, 18)]
        assert {r.event.value for r in told} == {1, *range(10, 18), *range(20, 28)}
        assert [r.position for r in told] == sorted(r.position for r in told)
        assert (await home.head(key)).wake_at == 0.0

    world.run(main)


def test_an_append_at_another_version_changes_nothing(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home)
        key = await begin(home, "t1")
        outcomes = await do_all(home, append(key, 0, ENDED), append(key, 2, ENDED), append(key, 1))

        assert [type(outcome) for outcome in outcomes[:2]] == [VersionConflict] * 2
        assert outcomes[2] is None
        assert ((await home.head(key)).version, (await home.head(key)).has_ended) == (2, False)

    world.run(main)


def test_an_event_that_is_too_large_leaves_the_head_alone(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home)
        key = await begin(home, "t1")
        huge = [Noted(0, "x" * EVENT_BYTES_MAX)]

        def work(tx: HomeTransaction) -> None:
            with pytest.raises(LimitExceeded):
                tx.append(key, huge, expected=Version(1), summary=ENDED)
            tx.append(key, [Noted(2)], expected=Version(1), summary=RUNNING)

        await do(home, work)

        assert [r.event.value for r in await home.load(key)] == [1, 2]

    world.run(main)


def test_a_turn_sees_what_it_has_written_itself(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home)
        key = await begin(home, "t1")

        def work(tx: HomeTransaction) -> Any:
            tx.append(key, [Noted(2)], expected=Version(1), summary=Summary("waiting", wake_at=5.0))
            return tx.head(key), tx.read(key), tx.read(key, after=Version(1))

        head, whole, rest = await do(home, work)

        assert (head.version, head.status, head.wake_at) == (2, "waiting", 5.0)
        assert [r.event.value for r in whole] == [1, 2]
        assert [r.version for r in rest] == [2]

    world.run(main)


def test_nobody_sees_a_transaction_that_is_not_committed(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home)
        key = await begin(home, "t1")
        birth = Birth(TransactionId("t2"), "Trip", "1")
        scope = home.scope("a scope")
        await scope.call(lambda tx: tx.create(birth, [Noted(1)], RUNNING))
        await scope.call(append(key, 1, ENDED))
        await scope.call(lambda tx: tx.define("Trip", "2", "{}"))

        for store in (home, world.home()):
            assert [head.id for head in await store.heads()] == ["t1"]
            assert ((await store.head(key)).version, await store.find(TransactionId("t2"))) == (1, None)
            assert (len(await store.load(key)), await store.definition("Trip", "2")) == (1, None)

        await scope.commit()

        assert [(head.id, head.has_ended) for head in await home.heads()] == [("t2", False), ("t1", True)]

    world.run(main)


def test_streams_that_are_no_transactions_have_no_head(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await home.append(transaction_stream(TransactionId("x")), [Noted(1)], expected=Version(0))

        assert await home.heads() == []
        assert await home.find(TransactionId("x")) is None
        assert await home.counts() == {}

    world.run(main)


def test_a_note_comes_and_goes(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home)
        key = await begin(home, "t1")
        await do(home, lambda tx: tx.note(key, "no code for it"))

        assert (await home.head(key)).note == "no code for it"

        await do(home, lambda tx: tx.note(key, None))

        assert (await home.head(key)).note is None

    world.run(main)


def test_a_definition_is_kept_and_may_be_told_again(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home)
        key = await begin(home, "t1")
        await do(home, lambda tx: tx.define("Trip", "1", '{"steps":[]}'))
        await do(home, lambda tx: tx.define("Trip", "2", '{"steps":[1]}'))

        assert await home.definition("Trip", "1") == '{"steps":[]}'
        assert await home.definition("Trip", "3") is None
        assert (await home.head(key)).definition == "1"

        await do(home, lambda tx: tx.note(key, "old"))
        await do(home, lambda tx: tx.migrate(key, "Trip", "2"))

        assert ((await home.head(key)).definition, (await home.head(key)).note) == ("2", None)
        with pytest.raises(AssertionError, match="not kept"):
            await do(home, lambda tx: tx.migrate(key, "Trip", "9"))

    world.run(main)
