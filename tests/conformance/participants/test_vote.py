"""What a branch's vote promises, and what is left where it says no."""

from __future__ import annotations

import time

import pytest

from finality.core.errors import Conflict, LimitExceeded, Refused, TransactionAborted, Unavailable
from finality.core.two_phase import Decision, Vote
from finality.ports.participant import BranchId
from tests.conformance.participants.kinds import only
from tests.conformance.participants.worlds import (
    AnyBranch,
    AnyParticipant,
    World,
    id_of,
    opened,
    patiently,
    run,
    worked,
)


def test_a_branch_that_voted_yes_is_in_doubt_and_unseen(world: World) -> None:
    async def story() -> None:
        async with opened(world) as bank:
            items = [1, 2] if world.takes_more else [1]
            branch = await worked(world, bank, id_of("t1"), *items)

            assert await world.look(branch) == items
            assert await branch.prepare() is Vote.YES
            assert world.items() == []
            assert [found.branch for found in await bank.in_doubt()] == [id_of("t1")]

            await bank.finish(id_of("t1"), Decision.COMMIT)

            assert world.items() == items

    run(story())


def test_a_branch_that_only_read_has_ended_with_its_vote(world: World) -> None:
    async def story() -> None:
        async with opened(world) as bank:
            branch = await bank.begin(id_of("t1"))

            assert await world.look(branch) == []
            assert await branch.prepare() is Vote.READ_ONLY
            assert await bank.in_doubt() == []

    run(story())


def test_an_aborted_branch_leaves_nothing_however_often(world: World) -> None:
    async def story() -> None:
        async with opened(world) as bank:
            branch = await worked(world, bank, id_of("t1"), 1)
            await branch.abort()
            await branch.abort()

            assert await bank.finish(id_of("t1"), Decision.ABORT) is Decision.ABORT
            assert world.items() == []
            await (await worked(world, bank, id_of("t2"), 1)).abort()  # Nothing holds the item.

    run(story())


@only("takes_more")
def test_a_broken_constraint_is_refused_and_so_is_the_vote_after_it(world: World) -> None:
    async def story() -> None:
        async with opened(world) as bank:
            await (await worked(world, bank, id_of("t1"), 1)).commit()
            branch = await worked(world, bank, id_of("t2"), 2)
            with pytest.raises(Refused):
                await world.insert(branch, 1)
            # The failure was swallowed, as code does; it must not be forgotten.
            with pytest.raises(Refused):
                await branch.prepare()

            assert await bank.in_doubt() == []
            assert world.items() == [1]

    run(story())


@only("takes_more")
def test_a_swallowed_failure_stops_a_one_phase_commit_too(world: World) -> None:
    async def story() -> None:
        async with opened(world) as bank:
            await (await worked(world, bank, id_of("t1"), 1)).commit()
            branch = await worked(world, bank, id_of("t2"), 2)
            with pytest.raises(Refused):
                await world.insert(branch, 1)
            with pytest.raises(Refused):
                await branch.commit()

            assert world.items() == [1]
            assert await bank.settle(id_of("t2")) is Decision.ABORT

    run(story())


@only("can_defer")
def test_a_deferred_constraint_is_a_no_at_the_vote(world: World) -> None:
    async def story() -> None:
        async with opened(world) as bank:
            for end in ("prepare", "commit"):
                branch = await bank.begin(id_of(end))
                await world.insert(branch, 1)
                await world.insert_late(branch, 99)
                with pytest.raises(Refused, match="99"):
                    await getattr(branch, end)()

                assert await bank.in_doubt() == []
                assert await bank.settle(id_of(end)) is Decision.ABORT
            assert world.items() == []

    run(story())


def test_one_phase_commits_at_once(world: World) -> None:
    async def story() -> None:
        async with opened(world) as bank:
            await (await worked(world, bank, id_of("t1"), 1)).commit()

            assert world.items() == [1]
            assert await bank.settle(id_of("t1")) is Decision.COMMIT
            assert await bank.in_doubt() == []

    run(story())


def test_whoever_waits_too_long_for_another_has_a_conflict(world: World) -> None:
    async def insert_and_vote(bank: AnyParticipant, id: BranchId) -> None:
        branch = await bank.begin(id)
        try:
            await world.insert(branch, 1)
            await branch.prepare()
        finally:
            await branch.abort()

    async def story() -> None:
        async with opened(world) as bank:
            await (await worked(world, bank, id_of("t1"), 1)).prepare()
            with pytest.raises(Conflict):
                await insert_and_vote(bank, id_of("t2"))
            await bank.finish(id_of("t1"), Decision.COMMIT)

            assert world.items() == [1]

    run(story())


@only("can_cut")
def test_a_branch_whose_session_was_cut_has_not_voted_yes(world: World) -> None:
    async def story() -> None:
        async with opened(world) as bank:
            branch = await worked(world, bank, id_of("t1"), 1)
            world.cut(branch)
            with pytest.raises((Unavailable, Refused)):
                await branch.prepare()
            await branch.abort()

            assert await bank.finish(id_of("t1"), Decision.ABORT) is Decision.ABORT
            assert world.items() == []
            assert world.prepared() == []
            await (await worked(world, bank, id_of("t2"), 1)).commit()  # The participant has got over it.

    run(story())


@pytest.mark.slow
@only("can_die")
def test_an_abandoned_branch_is_aborted_by_the_server_after_its_deadline(world: World) -> None:
    async def story() -> None:
        async with opened(world) as bank:
            branch = await bank.begin(id_of("t1"), deadline=time.time() + 1)
            await world.insert(branch, 1)
            other = await patiently(lambda: inserted(bank), Conflict)
            with pytest.raises((Unavailable, Refused)):
                await branch.prepare()
            await other.commit()

            assert world.items() == [1]

    async def inserted(bank: AnyParticipant) -> AnyBranch:
        branch = await bank.begin(id_of("t2"))
        try:
            await world.insert(branch, 1)
        except BaseException:
            await branch.abort()
            raise
        return branch

    run(story())


@pytest.mark.parametrize(
    "transaction, home", [("x" * 65, "h"), ("", "h"), ("a:b", "h"), ("a\nb", "h"), ("é", "h"), ("t", "a:b")]
)
def test_an_id_that_no_database_could_keep_begins_nothing(world: World, transaction: str, home: str) -> None:
    async def story() -> None:
        async with opened(world) as bank:
            with pytest.raises(LimitExceeded, match="branch"):
                await bank.begin(id_of(transaction, home=home))

    run(story())


def test_the_longest_ids_work(world: World) -> None:
    async def story() -> None:
        name = "p" * 32
        async with opened(world, name) as bank:
            longest = id_of("'" * 32 + "~" * 32, participant=name, number=99)
            await (await worked(world, bank, longest, 1)).prepare()

            assert [found.branch for found in await bank.in_doubt()] == [longest]
            assert await bank.finish(longest, Decision.COMMIT) is Decision.COMMIT
            assert world.items() == [1]

    run(story())


@only("takes_several")
def test_branches_of_one_transaction_are_told_apart(world: World) -> None:
    async def story() -> None:
        async with opened(world) as bank:
            first, second = id_of("t1"), id_of("t1", number=1)
            await (await worked(world, bank, first, 1)).prepare()
            await (await worked(world, bank, second, 2)).prepare()

            assert await bank.finish(first, Decision.COMMIT) is Decision.COMMIT
            assert await bank.finish(second, Decision.ABORT) is Decision.ABORT
            assert world.items() == [1]

    run(story())


def test_an_id_that_was_used_is_not_used_again(world: World) -> None:
    async def story() -> None:
        async with opened(world) as bank:
            await (await worked(world, bank, id_of("t1"), 1)).commit()
            with pytest.raises(TransactionAborted):
                await (await worked(world, bank, id_of("t1"), 2)).commit()

            assert world.items() == [1]

    run(story())
