"""The promises of ``ports.journal.Journal``, kept by every adapter."""

from __future__ import annotations

import asyncio

import pytest

from finality.core.errors import LimitExceeded, VersionConflict
from finality.core.ids import NodeId, Position, StreamName, Version
from finality.ports.environment import COMMIT_AFTER
from finality.ports.journal import EVENT_BYTES_MAX, Page
from tests.conformance.worlds import POSTGRES, AnyHome, Noted, World, append_to, do_all, prepare

A, B = StreamName("a"), StreamName("b")
HUGE = Noted(0, "x" * (EVENT_BYTES_MAX + 1))


async def values(home: AnyHome, stream: StreamName = A) -> list[int]:
    return [recorded.event.value for recorded in await home.read(stream)]


def test_an_append_is_read_back_in_order_with_everything_about_it(world: World) -> None:
    async def main(home: AnyHome) -> None:
        world.environment.time = 1_234.5

        version = await home.append(A, [Noted(1), Noted(2, "é")], expected=Version(0))
        first, second = await home.read(A)

        assert version == 2
        assert (first.event, second.event) == (Noted(1), Noted(2, "é"))
        assert (first.version, second.version) == (1, 2)
        assert first.position < second.position
        assert (first.stream, first.at, first.by) == (A, 1_234.5, NodeId(""))

    world.run(main)


def test_an_event_names_the_node_that_wrote_it(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await prepare(home, "n1")
        await home.append(A, [Noted()], expected=Version(0))

        assert [recorded.by for recorded in await home.read(A)] == ["n1"]
        assert [recorded.by for recorded in await world.home().read(A)] == ["n1"]

    world.run(main)


def test_the_version_goes_on_from_where_it_was(world: World) -> None:
    async def main(home: AnyHome) -> None:
        version = await home.append(A, [Noted(1)], expected=Version(0))
        version = await home.append(A, [Noted(2), Noted(3)], expected=version)

        assert version == 3
        assert await values(home) == [1, 2, 3]

    world.run(main)


def test_a_read_begins_behind_a_version_and_ends_at_its_limit(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await home.append(A, [Noted(value) for value in range(1, 6)], expected=Version(0))

        assert [r.version for r in await home.read(A, after=Version(2))] == [3, 4, 5]
        assert [r.version for r in await home.read(A, after=Version(1), limit=2)] == [2, 3]
        assert await home.read(A, after=Version(5)) == []
        assert await home.read(StreamName("never")) == []

    world.run(main)


AT_ANOTHER_VERSION = [
    (0, 2),  # It is not new.
    (1, 2),  # Someone was first.
    (3, 2),  # It is not that far yet: the caller has read another database, or made it up.
]


@pytest.mark.parametrize("expected, actual", AT_ANOTHER_VERSION)
def test_an_append_at_another_version_conflicts(world: World, expected: int, actual: int) -> None:
    async def main(home: AnyHome) -> None:
        await home.append(A, [Noted(1), Noted(2)], expected=Version(0))

        with pytest.raises(VersionConflict) as conflict:
            await home.append(A, [Noted(9)], expected=Version(expected))

        assert (conflict.value.expected, conflict.value.actual) == (expected, actual)
        assert await values(home) == [1, 2]

    world.run(main)


def test_a_stream_that_is_not_there_conflicts_with_any_version_but_0(world: World) -> None:
    async def main(home: AnyHome) -> None:
        with pytest.raises(VersionConflict) as conflict:
            await home.append(A, [Noted(1)], expected=Version(1))

        assert conflict.value.actual == 0
        assert (await home.page()).events == []

    world.run(main)


def test_of_many_appends_at_one_version_exactly_one_succeeds(world: World) -> None:
    async def main(home: AnyHome) -> None:
        outcomes = await asyncio.gather(
            *(home.append(A, [Noted(value)], expected=Version(0)) for value in range(20)),
            return_exceptions=True,
        )

        assert sum(outcome == 1 for outcome in outcomes) == 1
        assert sum(isinstance(outcome, VersionConflict) for outcome in outcomes) == 19
        assert len(await home.read(A)) == 1

    world.run(main)


def test_a_conflict_hurts_no_other_stream_of_its_batch(world: World) -> None:
    async def main(home: AnyHome) -> None:
        outcomes = await do_all(
            home,
            append_to("a", 1),
            append_to("b", 1, expected=7),
            append_to("c", 1, 2),
            append_to("a", 2, expected=1),
        )

        assert outcomes[0] == 1
        assert isinstance(outcomes[1], VersionConflict)
        assert outcomes[2:] == [2, 2]
        assert [await values(home, StreamName(name)) for name in "abc"] == [[1, 2], [], [1, 2]]

    world.run(main)


def test_an_event_that_is_too_large_is_refused_before_anything_is_written(world: World) -> None:
    async def main(home: AnyHome) -> None:
        outcomes = await asyncio.gather(
            home.append(A, [Noted(1)], expected=Version(0)),
            home.append(B, [Noted(1), HUGE], expected=Version(0)),
            home.append(A, [Noted(2)], expected=Version(1)),
            return_exceptions=True,
        )

        assert (outcomes[0], outcomes[2]) == (1, 2)
        assert isinstance(outcomes[1], LimitExceeded)
        assert await home.read(B) == []
        assert await values(home) == [1, 2]

    world.run(main)


def test_an_event_may_be_as_large_as_the_limit(world: World) -> None:
    async def main(home: AnyHome) -> None:
        around = len('{"value":0,"padding":""}')
        await home.append(A, [Noted(0, "x" * (EVENT_BYTES_MAX - around))], expected=Version(0))

        assert len(await home.read(A)) == 1

    world.run(main)


def test_an_append_of_nothing_is_a_programmers_error(world: World) -> None:
    async def main(home: AnyHome) -> None:
        with pytest.raises(AssertionError, match="at least one event"):
            await home.append(A, [], expected=Version(0))

        assert (await home.page()).events == []

    world.run(main)


def test_a_page_holds_all_streams_in_commit_order(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await home.append(A, [Noted(1)], expected=Version(0))
        await home.append(B, [Noted(2)], expected=Version(0))
        await home.append(A, [Noted(3)], expected=Version(1))

        whole = (await home.page()).events
        first = await home.page(limit=1)
        rest = await home.page(after=first.cursor, limit=1)
        last = await home.page(after=rest.cursor)

        assert [(r.stream, r.event.value) for r in whole] == [("a", 1), ("b", 2), ("a", 3)]
        assert [page.events for page in (first, rest, last)] == [whole[:1], whole[1:2], whole[2:]]
        assert await home.page(after=last.cursor) == Page([], last.cursor)

    world.run(main)


def test_a_failed_append_leaves_no_event_that_a_reader_could_see(world: World) -> None:
    async def main(home: AnyHome) -> None:
        def write_and_fail(tx: object) -> None:
            append_to("a", 1, 2)(tx)  # type: ignore[arg-type]  # Any transaction will do.
            raise ValueError("changed its mind")

        outcomes = await do_all(home, append_to("b", 1), write_and_fail, append_to("c", 1))

        assert isinstance(outcomes[1], ValueError)
        assert [r.stream for r in (await home.page()).events] == ["b", "c"]
        positions = [r.position for r in (await home.page()).events]
        await home.append(A, [Noted(1)], expected=Version(0))
        assert (await home.page()).events[-1].position > positions[-1]

    world.run(main)


def test_a_follower_hears_what_was_and_then_what_comes(world: World) -> None:
    async def main(home: AnyHome) -> None:
        await home.append(A, [Noted(1)], expected=Version(0))
        follower = home.follow()

        heard = [await anext(follower)]
        later = asyncio.ensure_future(anext(follower))
        await home.append(B, [Noted(2)], expected=Version(0))
        heard.append(await later)

        assert [r.event.value for r in heard] == [1, 2]
        await follower.aclose()  # type: ignore[attr-defined]  # The port promises less than a generator.

    world.run(main)


async def write(home: AnyHome, streams: list[StreamName], count: int) -> int:
    """Append to each of *streams* in turn, whatever others append there; return how often they came first."""
    conflicts = 0
    for value in range(count):
        stream = streams[value % len(streams)]
        while True:
            version = Version(len(await home.read(stream)))
            try:
                await home.append(stream, [Noted(value)], expected=version)
                break
            except VersionConflict:
                conflicts += 1
    return conflicts


@pytest.mark.slow
def test_a_follower_of_two_writers_misses_nothing_doubles_nothing_and_keeps_the_order(world: World) -> None:
    streams = [StreamName(f"s{number}") for number in range(5)]

    async def follow(home: AnyHome, count: int) -> list[tuple[StreamName, int, Position]]:
        heard = []
        async for recorded in home.follow():
            heard.append((recorded.stream, int(recorded.version), recorded.position))
            if len(heard) == count:
                return heard
        raise AssertionError("a follower never ends by itself")

    async def main(home: AnyHome) -> None:
        other, reader = world.home(), world.home()
        following = asyncio.ensure_future(follow(reader, 6 * 30))
        await asyncio.gather(
            *(write(store, streams, 30) for store in (home, other, home, other, home, other))
        )
        heard = await following

        assert len(heard) == len({position for *_, position in heard})
        for stream in streams:
            assert [version for name, version, _ in heard if name == stream] == list(range(1, 37))
        kept = [(r.stream, r.version, r.position) for r in (await home.page()).events]
        # A server gives positions before the commit, so that a late committer is heard of late.
        assert kept == (sorted(heard, key=lambda item: item[2]) if world.kind == POSTGRES else heard)

    world.run(main)


def test_appends_that_wait_together_share_a_commit(world: World) -> None:
    async def main(home: AnyHome) -> None:
        before = world.environment.reached[COMMIT_AFTER]
        await asyncio.gather(
            *(home.append(StreamName(f"s{n}"), [Noted(n)], expected=Version(0)) for n in range(100))
        )

        assert world.environment.reached[COMMIT_AFTER] - before < 20
        assert len((await home.page()).events) == 100

    world.run(main)
