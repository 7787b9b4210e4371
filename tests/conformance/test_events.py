"""The promises of ``ports.events``: the outbox, how far readers have come, and what is parked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from finality.core.errors import Fenced
from finality.core.ids import START, Cursor, NodeId, TransactionId
from finality.core.placement import partition_of
from finality.ports.events import REACTION, SHARES, OutboxEvent, Parked, Published
from finality.ports.home import HomeTransaction
from tests.conformance.worlds import POSTGRES, AnyHome, World, do, do_all

A, B = NodeId("a"), NodeId("b")
FAR = 1e12  # A time that never comes.


def published(key: str, number: int = 0) -> Published:
    return Published("orders", key, "Placed", str(number).encode(), '{"correlationid":"c"}')


def publish(*events: Published) -> Callable[[HomeTransaction], None]:
    def work(tx: HomeTransaction) -> None:
        for event in events:
            tx.publish(event)

    return work


def share_of(key: str) -> int:
    return partition_of(f"orders/{key}", SHARES)


async def relayed(home: AnyHome, share: int, after: Cursor = START, limit: int = 2) -> list[OutboxEvent]:
    """Return everything behind a cursor, page by page."""
    found: list[OutboxEvent] = []
    while True:
        page = await home.outbox(share, after=after, limit=limit)
        if not page.events:
            return found
        found, after = found + page.events, page.cursor


def aside(key: str, because: str = "", retry_at: float | None = None) -> Parked:
    return Parked(0, "stock", "orders", key, "e-1", '{"id":"e-1"}', b"\x00", because, 1, 5.0, retry_at)


# ── The outbox ──────────────────────────────────────────────────────────────────────────────


def test_every_event_is_in_one_share_once_and_in_order(world: World) -> None:
    async def main(home: AnyHome) -> None:
        for number in range(3):
            await do(home, publish(*(published(f"k{key}", number) for key in range(8))))
        pages = [await relayed(home, share) for share in range(SHARES)]

        for share, events in enumerate(pages):
            assert {share_of(event.key) for event in events} <= {share}
            for key in {event.key for event in events}:
                assert [event.data for event in events if event.key == key] == [b"0", b"1", b"2"]
        events = [event for page in pages for event in page]
        assert len({event.id for event in events}) == 24
        assert {event[2:7] for event in events} == {published(f"k{k}", n) for k in range(8) for n in range(3)}

    world.run(main)


def test_an_empty_page_has_a_cursor_to_go_on_from(world: World) -> None:
    async def main(home: AnyHome) -> None:
        share = share_of("k")
        page = await home.outbox(share, after=START)
        assert page.events == []

        await do(home, publish(published("k", 1)))
        page = await home.outbox(share, after=page.cursor)
        assert [event.data for event in page.events] == [b"1"]
        assert (await home.outbox(share, after=page.cursor)).events == []

    world.run(main)


def test_a_delayed_event_comes_when_it_is_due_and_not_before(world: World) -> None:
    async def main(home: AnyHome) -> None:
        now = world.environment.now()

        def work(tx: HomeTransaction) -> None:
            tx.publish(published("k", 3), due_at=now - 1)
            tx.publish(published("k", 2), due_at=now - 2)
            tx.publish(published("k", 9), due_at=now + FAR)

        await do(home, work)
        assert await home.next_release() == now - 2
        assert await relayed(home, share_of("k")) == []

        assert await do(home, lambda tx: tx.release_due(10)) == 2
        assert [event.data for event in await relayed(home, share_of("k"))] == [b"2", b"3"]
        assert await home.next_release() == now + FAR
        assert await do(home, lambda tx: tx.release_due(10)) == 0

    world.run(main)


def test_only_what_is_old_and_passed_is_pruned_and_no_position_comes_again(world: World) -> None:
    async def main(home: AnyHome) -> None:
        share = share_of("k")
        await do(home, publish(*(published("k", number) for number in range(3))))
        page = await home.outbox(share, after=START, limit=10)
        end = (await home.outbox(share, after=page.cursor)).cursor
        assert await do(home, lambda tx: tx.prune_outbox(share, before=0.0, behind=end, limit=10)) == 0
        assert await do(home, lambda tx: tx.prune_outbox(share, before=FAR, behind=START, limit=10)) == 0

        assert await do(home, lambda tx: tx.prune_outbox(share, before=FAR, behind=end, limit=2)) == 2
        assert [event.data for event in await relayed(home, share)] == [b"2"]
        assert await do(home, lambda tx: tx.prune_outbox(share, before=FAR, behind=end, limit=2)) == 1
        await do(home, publish(published("k", 3)))
        assert [event.data for event in await relayed(home, share, end)] == [b"3"]

    world.run(main)


def test_pruning_looks_no_further_than_its_limit(world: World) -> None:
    """Its turn is short however many events are kept: what is behind the oldest is younger, or nearly."""

    async def main(home: AnyHome) -> None:
        share = share_of("k")
        for at in (2_000.0, 2_000.0, 1_000.0):
            world.environment.time = at
            await do(home, publish(published("k")))
        page = await home.outbox(share, after=START, limit=10)
        end = (await home.outbox(share, after=page.cursor)).cursor

        assert await do(home, lambda tx: tx.prune_outbox(share, before=1_500.0, behind=end, limit=2)) == 0
        assert await do(home, lambda tx: tx.prune_outbox(share, before=1_500.0, behind=end, limit=3)) == 1

    world.run(main)


def test_a_cursor_by_time_has_everything_later_behind_it(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await do(home, publish(published("k", 1)))

        assert len(await relayed(home, share_of("k"), await home.outbox_since(0.0))) == 1
        assert await relayed(home, share_of("k"), await home.outbox_since(FAR)) == []

    world.run(main)


# ── Readers ─────────────────────────────────────────────────────────────────────────────────


def test_one_node_at_a_time_holds_a_share(world: World) -> None:
    async def main(home: AnyHome) -> None:
        def claim(node: NodeId, until: float) -> Callable[[HomeTransaction], Any]:
            return lambda tx: tx.claim("relay", 0, node=node, until=until)

        first = await do(home, claim(A, FAR))
        assert (first.epoch, first.cursor, first.node) == (1, START, A)
        assert await do(home, claim(B, FAR)) is None
        assert (await do(home, claim(A, 0.0))).epoch == 1

        second = await do(home, claim(B, FAR))
        assert (second.epoch, second.node) == (2, B)
        await do(home, lambda tx: tx.give_back(first))
        assert await do(home, claim(A, FAR)) is None
        await do(home, lambda tx: tx.give_back(second))
        assert (await do(home, claim(A, FAR))).epoch == 3

    world.run(main)


def test_who_lost_a_share_advances_nothing_and_its_turn_is_undone(world: World) -> None:
    async def main(home: AnyHome) -> None:
        old = await do(home, lambda tx: tx.claim("relay", 0, node=A, until=0.0))
        new = await do(home, lambda tx: tx.claim("relay", 0, node=B, until=FAR))

        def late(tx: HomeTransaction) -> None:
            tx.publish(published("k"))
            tx.advance(old, Cursor("9"))

        outcomes = await do_all(home, late, lambda tx: tx.advance(new, Cursor("5")))
        assert isinstance(outcomes[0], Fenced)
        assert await relayed(home, share_of("k")) == []
        assert [(row.cursor, row.node) for row in await home.progress("relay")] == [("5", B)]

    world.run(main)


def test_a_rewound_share_fences_its_holder_and_begins_there(world: World) -> None:
    async def main(home: AnyHome) -> None:
        held = await do(home, lambda tx: tx.claim("relay", 1, node=A, until=FAR))
        await do(home, lambda tx: tx.rewind("relay", 1, Cursor("3")))
        await do(home, lambda tx: tx.rewind("relay", 2, Cursor("4")))

        with pytest.raises(Fenced):
            await do(home, lambda tx: tx.advance(held, Cursor("9")))
        assert (await do(home, lambda tx: tx.claim("relay", 1, node=A, until=FAR))).cursor == "3"
        assert [(row.share, row.cursor) for row in await home.progress()] == [(1, "3"), (2, "4")]
        assert await home.progress("other") == []

    world.run(main)


# ── What is parked ──────────────────────────────────────────────────────────────────────────


def test_parked_events_of_a_key_stand_in_line(world: World) -> None:
    async def main(home: AnyHome) -> None:
        def work(tx: HomeTransaction) -> list[Parked]:
            tx.park(aside("k", "too large", 7.0))
            tx.park(aside("other", "no"))
            tx.park(aside("k"))
            return tx.parked("stock", "orders", "k", limit=5)

        first, second = await do(home, work)
        assert first[1:] == aside("k", "too large", 7.0)[1:]
        assert second.because == ""
        assert await home.next_retry("stock") == 7.0
        assert await home.next_retry("relay") is None
        listed = await home.parked_events(reader="stock", topic="orders")
        assert [row.key for row in listed] == ["k", "other", "k"]
        assert [row.key for row in await home.parked_events(after=listed[0].place, limit=1)] == ["other"]
        assert await home.parked_events(topic="bills") == []

        await do(home, lambda tx: tx.repark(first.place, because="still", attempts=2, retry_at=None))
        again = await do(home, lambda tx: tx.parked_at(first.place))
        assert again == first._replace(because="still", attempts=2, retry_at=None)
        await do(home, lambda tx: tx.unpark(first.place))
        assert await do(home, lambda tx: tx.parked("stock", "orders", "k")) == [second]
        assert await do(home, lambda tx: tx.parked_at(first.place)) is None

    world.run(main)


def test_only_old_witnesses_of_the_operation_are_forgotten(world: World) -> None:
    async def main(home: AnyHome) -> None:
        def work(tx: HomeTransaction) -> None:
            for number in range(3):
                tx.testify(TransactionId(f"e{number}"), "stock", REACTION, "null")
            tx.testify(TransactionId("t"), "step", "action", "null")

        await do(home, work)
        assert await do(home, lambda tx: tx.forget_witnesses(REACTION, before=0.0, limit=9)) == 0
        assert await do(home, lambda tx: tx.forget_witnesses(REACTION, before=FAR, limit=2)) == 2
        assert await do(home, lambda tx: tx.forget_witnesses(REACTION, before=FAR, limit=9)) == 1
        assert await do(home, lambda tx: tx.witness(TransactionId("t"), "step", "action")) == "null"

    world.run(main)


# ── PostgreSQL: positions are taken before the commit ───────────────────────────────────────


@pytest.mark.slow
@pytest.mark.xdist_group("postgres")
def test_a_late_committer_with_the_lower_position_is_not_skipped_nor_waited_for(
    finality_postgres: Any, tmp_path: Any
) -> None:
    """Also when it is a prepared branch that somebody commits an hour later."""
    import asyncpg

    world = World(POSTGRES, tmp_path, finality_postgres.database())
    insert = (
        "INSERT INTO finality_outbox (aggregatetype, aggregateid, type, payload) "
        "VALUES ('orders', $1, 'Placed', $2)"
    )

    async def main(home: AnyHome) -> None:
        late, soon = [await asyncpg.connect(world.url) for _ in range(2)]
        await late.execute("BEGIN")
        await late.execute(insert, "late", b"1")
        await soon.execute(insert, "soon", b"2")
        page = await home.outbox(0, after=START)
        assert [event.key for event in page.events] == ["soon"]

        await late.execute("PREPARE TRANSACTION 'late'")
        assert (await home.outbox(0, after=page.cursor)).events == []
        await soon.execute("COMMIT PREPARED 'late'")
        page = await home.outbox(0, after=page.cursor)
        assert [event.key for event in page.events] == ["late"]
        assert (await home.outbox(0, after=page.cursor)).events == []
        await asyncio.gather(late.close(), soon.close())

    world.run(main)
