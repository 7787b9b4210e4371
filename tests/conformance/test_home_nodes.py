"""The promises of ``ports.home.Home``: how nodes find their work, semantic locks, take-over."""

from __future__ import annotations

from typing import Any

import pytest

from finality.core.errors import VersionConflict
from finality.core.ids import NodeId, StreamName, Version
from finality.core.saga import Summary
from finality.core.saga.events import TakenOver
from finality.ports.home import HomeTransaction
from tests.conformance.worlds import (
    ENDED,
    N1,
    N2,
    N3,
    TRIP,
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


def take_over(name: str, *, before: float = 1_500.0, drives: frozenset[str] = TRIP, limit: int = 100) -> Any:
    return lambda tx: tx.take_over(NodeId(name), drives, expired_before=before, limit=limit)


def due(name: str, now: float, limit: int = 100) -> Any:
    return lambda tx: tx.claim_due(NodeId(name), now, limit=limit)


# ── Waking ──────────────────────────────────────────────────────────────────────────────────


def test_what_is_due_is_claimed_once_earliest_first(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home, "n1", "n2")
        late, soon, later = [
            await begin(home, f"t{at}", driver="n1", summary=Summary("waiting", wake_at=float(at)))
            for at in (20, 10, 30)
        ]
        await begin(home, "in hand", driver="n1")
        await begin(home, "ended", driver="n1", summary=Summary("completed", wake_at=1.0, has_ended=True))
        await begin(home, "n2's", driver="n2", summary=Summary("waiting", wake_at=5.0))

        assert await home.next_wake(N1) == 10.0
        assert await home.next_wake(N2) == 5.0
        assert await home.next_wake(NodeId("nobody")) is None
        assert await do(home, due("n1", 9.9)) == []
        assert await do(home, due("n1", 20.0, limit=1)) == [(soon, "Trip")]
        assert await do(home, due("n1", 20.0)) == [(late, "Trip")]
        assert await do(home, due("n1", 20.0)) == []
        assert (await home.head(soon)).wake_at is None
        assert await home.next_wake(N1) == 30.0

        await do(home, lambda tx: tx.set_wake(soon, 25.0))
        await do(home, lambda tx: tx.wake(later))

        assert await home.next_wake(N1) == 0.0
        assert await do(home, due("n1", 25.0)) == [(later, "Trip"), (soon, "Trip")]
        assert await home.next_wake(N1) is None

    world.run(main)


def test_a_transaction_that_has_ended_never_wakes(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home, "n1")
        key = await begin(home, "t1", driver="n1")
        await do(home, append(key, 1, ENDED))
        await do_all(home, lambda tx: tx.wake(key), lambda tx: tx.set_wake(key, 1.0))

        assert (await home.head(key)).wake_at is None
        assert await do(home, due("n1", 99.0)) == []

    world.run(main)


def test_a_commit_anywhere_is_noticed(world: World) -> None:
    async def main(home: AnyHome) -> None:
        other = world.home()
        await home.changed()

        assert not await home.changed()

        await prepare(other)

        assert await home.changed()
        assert not await home.changed()

    world.run(main)


def test_a_wake_between_appends_that_leave_the_head_is_not_lost(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home, "n1")
        key = await begin(home, "t1", driver="n1")
        await do(home, append(key, 1, None))
        await do(world.home(), lambda tx: tx.wake(key))
        await do_all(home, append(key, 2, None), append(key, 3, None), lambda tx: tx.set_wake(key, None))
        await do_all(home, append(key, 4, None), lambda tx: tx.wake(key), append(key, 5, None))

        assert await home.next_wake(N1) == 0.0
        assert await do(home, due("n1", 99.0)) == [(key, "Trip")]

        await do(home, append(key, 6, None))

        head = await home.head(key)
        assert (head.version, head.status, head.wake_at) == (7, "running", None)

    world.run(main)


# ── Semantic locks ──────────────────────────────────────────────────────────────────────────


def test_a_lock_has_one_holder_until_it_is_released(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home)
        first, second = await begin(home, "t1"), await begin(home, "t2")

        assert await do(home, lambda tx: tx.lock(first, "seat 12A")) is None
        assert await do(home, lambda tx: tx.lock(first, "seat 12A")) is None
        assert await do(home, lambda tx: tx.lock(second, "seat 12A")) == first
        assert await do(home, lambda tx: tx.lock(second, "seat 12B")) is None

        await do(home, lambda tx: tx.unlock_all(first))

        assert await do(world.home(), lambda tx: tx.lock(second, "seat 12A")) is None
        assert await do(home, lambda tx: tx.lock(first, "seat 12B")) == second

    world.run(main)


def test_a_lock_says_who_holds_it_and_since_when(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home)
        first, second = await begin(home, "t1"), await begin(home, "t2")

        assert await do(home, lambda tx: tx.lock_holder("seat 12A")) is None

        await do(home, lambda tx: tx.lock(first, "seat 12A"))
        world.environment.time += 60
        await do(home, lambda tx: tx.lock(second, "seat 12A"))

        assert await do(home, lambda tx: tx.lock_holder("seat 12A")) == (first, 1_000.0)

    world.run(main)


def test_locks_go_with_the_end_of_their_transaction(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home)
        first, second = await begin(home, "t1"), await begin(home, "t2")
        await do_all(home, lambda tx: tx.lock(first, "a"), lambda tx: tx.lock(first, "b"))
        await do(home, append(first, 1))

        assert await do(home, lambda tx: tx.lock(second, "a")) == first

        await do(home, append(first, 2, ENDED))

        assert await do(home, lambda tx: [tx.lock(second, "a"), tx.lock(second, "b")]) == [None, None]

    world.run(main)


def test_a_lock_of_a_turn_that_failed_is_not_held(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home)
        first, second = await begin(home, "t1"), await begin(home, "t2")

        def fail(tx: HomeTransaction) -> None:
            assert tx.lock(first, "a") is None
            raise ValueError("no")

        outcomes = await do_all(home, fail, lambda tx: tx.lock(second, "a"))

        assert outcomes[1] is None

    world.run(main)


# ── Nodes ───────────────────────────────────────────────────────────────────────────────────


def test_nodes_are_listed_newest_first_with_what_they_last_said(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home, "n1", "n2")
        await do(home, lambda tx: tx.renew(node("n1", until=3_000.0, drives=frozenset({"A@1", "B@2"}))))

        assert [row.id for row in await home.nodes()] == ["n2", "n1"]
        assert (await home.nodes())[1] == node("n1", until=3_000.0, drives=frozenset({"A@1", "B@2"}))

    world.run(main)


def test_a_node_that_leaves_lets_go_of_what_it_drove(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home, "n1", "n2")
        sleeping = await begin(home, "t1", driver="n1", summary=Summary("waiting", wake_at=50.0))
        in_hand = await begin(home, "t2", driver="n1")
        ended = await begin(home, "t3", driver="n1", summary=ENDED)
        others = await begin(home, "t4", driver="n2")
        await do(home, lambda tx: tx.leave(N1))

        assert [(await home.head(key)).driver for key in (sleeping, in_hand, ended, others)] == [
            None,
            None,
            N1,
            N2,
        ]
        assert [(await home.head(key)).wake_at for key in (sleeping, in_hand)] == [50.0, 0.0]
        assert {row.id: row.lease_until for row in await home.nodes()} == {N1: 0.0, N2: 2_000.0}

    world.run(main)


def test_the_transactions_of_dead_nodes_and_of_none_are_taken_over(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home, "n1", "n2", "n3")
        await do_all(home, renew("n1", until=1_400.0), renew("n2", until=1_499.0), renew("n3"))
        of_n1, of_n2 = await begin(home, "t1", driver="n1"), await begin(home, "t2", driver="n2")
        of_n3, of_none = await begin(home, "t3", driver="n3"), await begin(home, "t4")
        ended = await begin(home, "t5", driver="n1", summary=ENDED)

        assert await do(home, take_over("n3")) == 3
        assert await do(home, take_over("n3")) == 0
        assert [(await home.head(key)).driver for key in (of_n1, of_n2, of_n3, of_none, ended)] == [
            N3
        ] * 4 + [N1]
        assert [(await home.head(key)).version for key in (of_n1, of_n3, ended)] == [2, 1, 1]
        assert [(await home.load(key))[-1].event for key in (of_n1, of_n2, of_none)] == [
            TakenOver("n3", "n1"), TakenOver("n3", "n2"), TakenOver("n3", ""),
        ]  # fmt: skip
        assert [r.by for r in await home.load(of_n1)][-1] == "n3"

    world.run(main)


def test_the_fence_holds_off_the_node_that_was_taken_from(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home, "n1", "n2")
        key = await begin(home, "t1", driver="n1")
        await do(home, append(key, 1, None, 2, 3))
        other = world.home()
        await do(other, renew("n2"))
        world.environment.time = 1_200.0
        await do(other, take_over("n2", before=5_000.0))

        head = await home.head(key)
        assert (head.version, head.updated_at, head.driver) == (4, 1_200.0, N2)
        assert (await home.load(key))[-1].event == TakenOver("n2", "n1")
        for summary in (ENDED, None):
            with pytest.raises(VersionConflict):
                await do(home, append(key, 3, summary))
        await do(other, append(key, 4, ENDED))

        assert (await home.head(key)).has_ended

    world.run(main)


def test_only_known_definitions_are_taken_over(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home, "n1")
        await do(home, lambda tx: tx.define("Trip", "2", "{}"))
        old, new = await begin(home, "t1"), await begin(home, "t2", definition="2")

        assert await do(home, take_over("n1", drives=frozenset({"Trip@2", "Other@1"}))) == 1
        assert [(await home.head(key)).driver for key in (old, new)] == [None, N1]
        assert await do(home, take_over("n1", drives=frozenset())) == 0

    world.run(main)


def test_what_is_taken_over_wakes_at_its_time_and_at_once_if_it_was_in_hand(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home, "n1", "n2")
        in_hand = await begin(home, "t1", driver="n1")
        sleeping = await begin(home, "t2", driver="n1", summary=Summary("waiting", wake_at=50.0))
        undoing = await begin(home, "t3", driver="n1", summary=Summary("compensating", wake_at=60.0))
        noted = await begin(home, "t4")
        await do(home, lambda tx: tx.note(noted, "nobody knows it"))
        await do(home, take_over("n2", before=5_000.0))

        assert [(await home.head(key)).wake_at for key in (in_hand, sleeping, undoing)] == [0.0, 50.0, 0.0]
        assert (await home.head(noted)).note is None
        assert await home.next_wake(N2) == 0.0
        assert await home.next_wake(N1) is None

    world.run(main)


def test_a_takeover_keeps_to_its_limit(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home, "n1", "n2")
        for n in range(3):
            await begin(home, f"t{n}", driver="n1")
            await begin(home, f"u{n}")

        assert [await do(home, take_over("n2", before=5_000.0, limit=4)) for _ in range(3)] == [4, 2, 0]

    world.run(main)


def test_what_was_left_alone_is_taken_only_by_a_node_that_knows_its_definition(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home, "n1", "n2")
        key = await begin(home, "t1", driver=N1)
        await do(home, lambda tx: tx.release(key, "step 'paid' is missing"))

        left = await home.head(key)
        assert (left.driver, left.note, left.wake_at) == (None, "step 'paid' is missing", 0.0)

        def accept(tx: Any) -> int:
            taken: int = tx.take_over(N1, frozenset(), accepts=TRIP, expired_before=1_500.0, limit=100)
            return taken

        assert await do(home, accept) == 0
        assert await do(home, take_over("n2")) == 1
        assert (await home.head(key)).note is None
        await do(home, lambda tx: tx.leave(NodeId("n2")))
        assert await do(home, accept) == 1

    world.run(main)


def test_a_node_lets_go_of_all_but_what_it_keeps(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home, "n1", "n2")
        keys = [await begin(home, f"t{number}", driver=N1) for number in range(3)]
        await do(home, lambda tx: tx.let_go(N1, keep={keys[1]}))

        assert [(await home.head(key)).driver for key in keys] == [None, N1, None]
        assert await do(home, take_over("n2")) == 2

    world.run(main)


def test_a_node_does_not_take_over_from_itself(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home, "n1")
        key = await begin(home, "t1", driver="n1")

        assert await do(home, take_over("n1", before=9_000.0)) == 0
        assert (await home.head(key)).version == 1

    world.run(main)


def test_streams_are_listed_by_prefix_and_the_journal_says_where_it_ends(world: World) -> None:
    async def main(home: AnyHome) -> None:
        assert (await home.newest()).events == []

        for name in ("breaker/b", "breaker/a", "breakers", "transaction/t"):
            await home.append(StreamName(name), [Noted(1)], expected=Version(0))

        assert await home.streams("breaker/") == ["breaker/a", "breaker/b"]
        assert await home.streams("breaker", limit=2) == ["breaker/a", "breaker/b"]
        assert await home.streams("x") == []
        every = (await home.page()).events
        newest = await home.newest(limit=2)
        assert newest.events == every[2:]
        assert (await home.newest(before=newest.events[0].position, limit=2)).events == every[:2]
        assert (await home.newest(before=every[0].position)).events == []
        assert (await home.page(after=newest.cursor)).events == []

    world.run(main)
