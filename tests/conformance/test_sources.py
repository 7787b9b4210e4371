"""The promises of ``ports.sources``, kept by every home store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from finality.core.errors import LimitExceeded, VersionConflict
from finality.core.ids import START, NodeId, StreamName, Version
from finality.core.protocol import Recorded
from finality.core.sourcing import Fact, Match, Query, Snapshot
from finality.ports.home import HomeTransaction
from finality.ports.journal import EVENT_BYTES_MAX
from finality.ports.sources import Source
from finality.runtime.sourcing.ahead import Ahead
from tests.conformance.worlds import AnyHome, Noted, World, do, do_all, prepare

A, B = StreamName("Account/a"), StreamName("Account/b")
C1 = Query((Match(frozenset({"Taken"}), frozenset({"course:c1"})),))


def fact(value: int, *tags: str, type_: str = "Noted") -> Fact:
    return Fact(type_, str(value).encode(), tags=tags)


def record(
    stream: StreamName, *facts: Fact, expected: int = 0, key: int | None = None
) -> Callable[[HomeTransaction], None]:
    def work(tx: HomeTransaction) -> None:
        tx.sources.record(stream, facts, expected=Version(expected), key=key)

    return work


async def found(home: AnyHome, stream: StreamName) -> Source:
    source = await home.sources.find(stream)
    assert source is not None, f"{stream} has begun"
    return source


async def values(home: AnyHome, stream: StreamName = A) -> list[int]:
    source = await home.sources.find(stream)
    return [] if source is None else [int(each.event.data) for each in await home.sources.read(source)]


def test_a_stream_is_read_by_pages_up_to_the_version_that_was_found(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home, "n1")
        await do(home, record(A, *map(fact, range(5))))
        source = await found(home, A)
        await do(home, record(A, fact(5), expected=5))

        def read(tx: HomeTransaction) -> list[Recorded]:
            return tx.sources.read(source, after=Version(1), limit=2)

        for page in (await home.sources.read(source, after=Version(1), limit=2), await do(home, read)):
            assert [each.version for each in page] == [2, 3]
        assert [each.version for each in await home.sources.read(source, after=Version(3))] == [4, 5]

    world.run(main)


@pytest.mark.parametrize("count", [1, 25, 60])
def test_however_many_are_recorded_at_once_all_are_read_in_order_and_found(world: World, count: int) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home, "n1")
        await do(home, record(A, *(fact(n, "course:c1", type_="Taken") for n in range(count))))

        assert await values(home) == [*range(count)]
        assert len(await home.sources.matching(C1)) == count

    world.run(main)


def test_facts_are_read_back_as_they_were_with_everything_about_them(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home, "n1")
        world.environment.time = 1_234.5
        await do(home, record(A, Fact("Noted@2", b"[1]", b'{"by":"ada"}'), fact(2)))

        source = await found(home, A)
        first, second = await home.sources.read(source)

        assert (source.version, source.is_archived, source.snapshot) == (2, False, None)
        assert first.event == Fact("Noted@2", b"[1]", b'{"by":"ada"}')
        assert (first.version, first.stream, first.at, first.by) == (1, A, 1_234.5, NodeId("n1"))
        assert second.event == fact(2)
        assert [each.event for each in (await home.page()).events] == [first.event, second.event]
        assert await home.sources.find(B) is None

    world.run(main)


@pytest.mark.parametrize("expected", [0, 1, 3])
@pytest.mark.parametrize("is_key_known", [False, True])
def test_facts_at_another_version_conflict(world: World, expected: int, is_key_known: bool) -> None:
    async def main(home: AnyHome) -> None:
        await do(home, record(A, fact(1), fact(2)))
        key = (await found(home, A)).key if is_key_known and expected else None

        with pytest.raises(VersionConflict) as conflict:
            await do(home, record(A, fact(9), expected=expected, key=key))
        await do(home, record(A, fact(3), expected=2, key=key))

        assert (conflict.value.expected, conflict.value.actual) == (expected, 2)
        assert await values(home) == [1, 2, 3]

    world.run(main)


def test_of_many_that_record_at_one_version_one_succeeds_and_no_neighbour_is_hurt(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await do(home, record(A, fact(0)))
        key = (await found(home, A)).key
        works = [record(A, fact(n), expected=1, key=key) for n in range(1, 6)]
        works += [record(StreamName(f"Account/{n}"), fact(n)) for n in range(5)]

        outcomes = await do_all(home, *works)

        assert sum(isinstance(outcome, VersionConflict) for outcome in outcomes) == 4
        assert len(await values(home)) == 2
        assert [await values(home, StreamName(f"Account/{n}")) for n in range(5)] == [[n] for n in range(5)]

    world.run(main)


def test_two_stores_that_record_in_turn_see_each_others_conflicts(world: World) -> None:
    async def main(home: AnyHome) -> None:
        other = world.home()
        await do(home, record(A, fact(1)))
        key = (await found(other, A)).key
        await do(other, record(A, fact(2), expected=1, key=key))

        with pytest.raises(VersionConflict):
            await do(home, record(A, fact(9), expected=1, key=key))
        await do(home, record(A, fact(3), expected=2, key=key))

        assert await values(other) == [1, 2, 3]

    world.run(main)


def test_a_turn_sees_what_it_has_recorded_and_loses_all_of_it_when_it_fails(world: World) -> None:
    async def main(home: AnyHome) -> None:
        def look(tx: HomeTransaction) -> list[int]:
            record(A, fact(1, "course:c1", type_="Taken"), fact(2))(tx)
            tx.sources.keep_snapshot(A, Snapshot(Version(2), "s", b"{}"))
            source = tx.sources.find(A)
            assert source is not None
            assert source.snapshot == Snapshot(Version(2), "s", b"{}")
            assert len(tx.sources.matching(C1)) == 1
            return [int(each.event.data) for each in tx.sources.read(source, after=Version(1))]

        def look_and_fail(tx: HomeTransaction) -> None:
            look(tx)
            tx.sources.keep_subject_key("ada", b"key")
            raise ValueError("changed its mind")

        failed, seen = await do_all(home, look_and_fail, look)

        assert (type(failed), seen) == (ValueError, [2])
        assert await values(home) == [1, 2]
        assert len(await home.sources.matching(C1)) == 1
        assert await home.sources.subject_keys(["ada"]) == {}

    world.run(main)


def test_a_fact_that_is_too_large_is_refused_before_anything_is_written(world: World) -> None:
    async def main(home: AnyHome) -> None:
        with pytest.raises(LimitExceeded):
            await do(home, record(A, fact(1), Fact("Noted", b"x" * EVENT_BYTES_MAX, b"{}")))

        assert await values(home) == []

    world.run(main)


def test_a_later_snapshot_takes_the_place_of_an_earlier_one(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await do(home, record(A, fact(1)))
        for version in (1, 2):
            kept = Snapshot(Version(version), "s", str(version).encode())
            await do(home, lambda tx, kept=kept: tx.sources.keep_snapshot(A, kept))  # type: ignore[misc]  # its own

        assert (await found(home, A)).snapshot == Snapshot(Version(2), "s", b"2")

    world.run(main)


def test_streams_are_listed_by_prefix_in_pages_without_those_that_are_archived(world: World) -> None:
    async def main(home: AnyHome) -> None:
        names = [StreamName(f"Account/{letter}") for letter in "bdace"]
        await do_all(home, *(record(name, fact(1)) for name in (*names, StreamName("Accounts/x"))))
        await do(home, lambda tx: tx.sources.archive(StreamName("Account/c")))

        async def listed(**options: Any) -> str:
            return "".join(each.name[-1] for each in await home.sources.listed("Account/", **options))

        assert await listed() == "abde"
        assert await listed(after="Account/a", limit=2) == "bd"
        assert await listed(with_archived=True) == "abcde"
        assert (await found(home, StreamName("Account/c"))).is_archived

    world.run(main)


def test_a_query_finds_what_has_all_tags_of_one_of_its_matches_in_order(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await do(home, record(A, fact(1, "course:c1", "student:s1", type_="Taken")))
        await do(home, record(B, fact(2, "course:c1", type_="Opened"), fact(3, "course:c2", type_="Taken")))
        await do(home, record(A, fact(4, "course:c1", "student:s2", type_="Taken@2"), expected=1))

        async def matching(*matches: tuple[str, str]) -> list[int]:
            query = Query(
                tuple(Match(frozenset(types.split()), frozenset(tags.split())) for types, tags in matches)
            )
            inside = await do(home, lambda tx: tx.sources.matching(query))
            outside = await home.sources.matching(query)
            assert inside == outside
            return [int(each.event.data) for each in outside]

        assert await matching(("Taken", "course:c1")) == [1, 4]
        assert await matching(("Taken", "course:c1 student:s2")) == [4]
        assert await matching(("Taken Opened", "course:c1"), ("Taken", "student:s1")) == [1, 2, 4]
        assert await matching(("", "course:c2")) == [3]
        assert await matching(("Opened", "course:c3")) == []

    world.run(main)


def test_a_query_holds_as_long_as_as_many_match(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await do(home, record(A, fact(1, "course:c1", type_="Taken")))
        await do(home, record(B, fact(2, "course:c1", type_="Opened")))

        await do(home, lambda tx: tx.sources.hold(C1, expected=1))
        with pytest.raises(VersionConflict) as conflict:
            await do(home, lambda tx: tx.sources.hold(C1, expected=0))

        assert (conflict.value.expected, conflict.value.actual) == (0, 1)

    world.run(main)


async def take_seats(home: AnyHome, tries: int) -> int:
    """Take one of three seats whenever one is free, whatever others do; return how many were taken."""
    taken = 0
    for _ in range(tries):
        seen = len(await home.sources.matching(C1))
        if seen == 3:
            break

        def take(tx: HomeTransaction, seen: int = seen) -> None:
            tx.sources.hold(C1, expected=seen)
            name = StreamName(f"boundary/{tx.sources.new_id()}")
            record(name, fact(seen, "course:c1", type_="Taken"))(tx)

        try:
            await do(home, take)
            taken += 1
        except VersionConflict:
            await asyncio.sleep(0)
    return taken


def test_seats_are_never_taken_twice_by_stores_that_decide_at_once(world: World) -> None:
    async def main(home: AnyHome) -> None:
        stores = [home, world.home(), world.home()]
        taken = await asyncio.gather(*(take_seats(store, 20) for store in stores for _ in range(3)))

        assert sum(taken) == 3
        assert sorted(int(each.event.data) for each in await home.sources.matching(C1)) == [0, 1, 2]

    world.run(main)


def test_the_key_of_a_subject_is_kept_once_and_gone_for_ever_when_forgotten(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await do(home, lambda tx: tx.sources.keep_subject_key("ada", b"first"))
        await do(home, lambda tx: tx.sources.keep_subject_key("ada", b"second"))
        kept = await home.sources.subject_keys(["ada", "bob"])

        await do(home, lambda tx: tx.sources.forget("ada"))
        await do(home, lambda tx: tx.sources.forget("bob"))
        await do(home, lambda tx: tx.sources.keep_subject_key("ada", b"third"))

        assert kept == {"ada": b"first"}
        assert await home.sources.subject_keys(["ada", "bob"]) == {"ada": None, "bob": None}
        assert await do(home, lambda tx: tx.sources.subject_keys(["ada"])) == {"ada": None}

    world.run(main)


def test_facts_are_paged_without_events_of_ours_and_up_to_a_cursor(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home, "n1")
        await do(home, record(A, fact(1), fact(2)))
        await home.append(StreamName("ours/a"), [Noted(7)], expected=Version(0))
        until = (await home.newest(limit=0)).cursor
        await do(home, record(B, fact(3)))

        first = await home.sources.facts(limit=1)
        second = await home.sources.facts(after=first.cursor, until=until)
        rest = await home.sources.facts(after=first.cursor)
        none = await home.sources.facts(after=rest.cursor)
        then = await home.sources.facts(after=none.cursor, until=until)

        assert [each.event for each in first.events] == [fact(1)]
        assert second.events[-1].event == fact(2)
        assert [each.event for each in rest.events] == [fact(2), fact(3)]
        assert not none.events
        assert not then.events

    world.run(main)


def test_what_comes_after_an_empty_page_was_read_ahead_is_not_missed(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home, "n1")
        await do(home, record(A, fact(1), fact(2), fact(3), fact(4)))
        pages = Ahead(home.sources)

        first = await pages.behind(START, 2)
        read = [first, await pages.behind(first.cursor, 2)]
        await asyncio.sleep(0)  # What is behind the second page is read: nothing.
        await do(home, record(B, fact(5)))
        for _ in range(2):  # The first may still be of what was shown before.
            read.append(await pages.behind(read[-1].cursor, 2))
        await pages.close()

        assert [int(each.event.data) for page in read for each in page.events] == [1, 2, 3, 4, 5]

    world.run(main)
