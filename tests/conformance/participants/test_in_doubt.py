"""Branches in doubt are listed with what a person needs to know, and never those of others."""

from __future__ import annotations

from datetime import timedelta

from finality.core.two_phase import Decision
from tests.conformance.participants.kinds import only
from tests.conformance.participants.worlds import World, id_of, opened, prepared, run, worked


@only("takes_several")
def test_only_ours_are_listed_oldest_first_with_age_and_what_they_hold(world: World) -> None:
    async def story() -> None:
        world.prepare_foreign()
        async with opened(world) as bank, opened(world, "stock") as stock:
            await prepared(world, bank, id_of("older"), 1)
            await prepared(world, stock, id_of("older", participant="stock"), 2)
            await prepared(world, bank, id_of("newer"), 3)
        async with opened(world) as bank:
            older, newer = await bank.in_doubt(says_holds=True)

            assert [older.branch, newer.branch] == [id_of("older"), id_of("newer")]
            if older.age_seconds is not None:
                assert newer.age_seconds is not None
                assert older.age_seconds >= newer.age_seconds >= 0
            assert world.shows_holding(older.holds)

    run(story())


@only("takes_several")
def test_branches_of_another_home_are_shown_and_left_alone(world: World) -> None:
    async def story() -> None:
        async with opened(world) as bank:
            await prepared(world, bank, id_of("t1", home="elsewhere"), 1)
            await prepared(world, bank, id_of("t1"), 2)

            assert {found.branch.home for found in await bank.in_doubt()} == {"elsewhere", id_of("t1").home}

            await bank.finish(id_of("t1"), Decision.ABORT)

            assert [found.branch.home for found in await bank.in_doubt()] == ["elsewhere"]
            assert await bank.finish(id_of("t1", home="elsewhere"), Decision.COMMIT) is Decision.COMMIT
            assert world.items() == [1]

    run(story())


@only("takes_several")
def test_foreign_branches_stay_as_they_are(world: World) -> None:
    async def story() -> None:
        foreign = world.prepare_foreign()
        async with opened(world) as bank:
            await prepared(world, bank, id_of("t1"), 1)
            await bank.in_doubt()
            await bank.finish(id_of("t1"), Decision.COMMIT)

        assert world.prepared() == [foreign]

    run(story())


def test_nothing_is_in_doubt_when_all_is_finished(world: World) -> None:
    async def story() -> None:
        async with opened(world) as bank:
            await prepared(world, bank, id_of("t1"), 1)
            await bank.finish(id_of("t1"), Decision.COMMIT)

            assert await bank.in_doubt() == []

    run(story())


@only("can_commit_by_hand", "takes_several")
def test_what_has_voted_and_committed_is_listed_newest_first(world: World) -> None:
    """So a branch is found that a DBA has committed while nobody had decided anything."""

    async def story() -> None:
        async with opened(world) as bank, opened(world, "stock") as stock:
            await prepared(world, bank, id_of("by hand"), 1)
            await prepared(world, bank, id_of("left in doubt"), 2)
            await prepared(world, bank, id_of("aborted"), 3)
            await prepared(world, stock, id_of("elsewhere", participant="stock"), 4)
            await (await worked(world, bank, id_of("alone"), 5)).commit()
        world.finish_by_hand(id_of("by hand"), Decision.COMMIT)
        world.finish_by_hand(id_of("elsewhere", participant="stock"), Decision.COMMIT)
        async with opened(world) as bank:
            await bank.finish(id_of("aborted"), Decision.ABORT)
            await prepared(world, bank, id_of("decided", home="another"), 6)
            await bank.finish(id_of("decided", home="another"), Decision.COMMIT)
            a_day = timedelta(days=1)

            assert await bank.committed(within=a_day, limit=10) == [
                id_of("decided", home="another"),
                id_of("by hand"),
            ]
            assert await bank.committed(within=a_day, limit=1) == [id_of("decided", home="another")]
            assert await bank.committed(within=timedelta(0), limit=10) == []

    run(story())
