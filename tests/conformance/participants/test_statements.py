"""Statements: refused early where they would break the branch, undone alone within a savepoint."""

from __future__ import annotations

import asyncio

import pytest

from finality.core.errors import Refused
from finality.core.two_phase import Decision, Vote
from finality.ports.store import StatementRefused
from tests.conformance.participants.kinds import only
from tests.conformance.participants.worlds import AnyBranch, ServerWorld, World, id_of, opened, run, worked

STATEMENTS = only("takes_statements")


@STATEMENTS
def test_what_breaks_the_branch_is_refused_with_the_reason_and_harms_nothing(world: World) -> None:
    async def story() -> None:
        async with opened(world) as bank:
            branch = await worked(world, bank, id_of("t1"), 1)
            for sql, reason in world.refused:
                with pytest.raises(StatementRefused) as refusal:
                    await branch.execute(sql)

                assert reason in str(refusal.value), sql

            assert await branch.prepare() is Vote.YES
            assert await bank.finish(id_of("t1"), Decision.COMMIT) is Decision.COMMIT
            assert world.items() == [1]

    run(story())


@only("can_die", "takes_statements")
def test_what_a_function_writes_is_not_taken_for_read_only(world: ServerWorld) -> None:
    async def story() -> None:
        async with opened(world) as bank:
            branch = await bank.begin(id_of("t1"))
            await world.insert_slyly(branch, 1)

            assert await branch.prepare() is Vote.YES
            assert await bank.finish(id_of("t1"), Decision.ABORT) is Decision.ABORT
            assert world.items() == []

            branch = await bank.begin(id_of("t2"))
            await world.insert_slyly(branch, 2)
            await branch.commit()

            assert await bank.settle(id_of("t2")) is Decision.COMMIT
            assert world.items() == [2]

    run(story())


@STATEMENTS
def test_a_failure_within_a_savepoint_is_undone_alone(world: World) -> None:
    async def fail(branch: AnyBranch) -> None:
        async with branch.savepoint():
            await world.insert(branch, 2)
            await world.insert(branch, 1)

    async def story() -> None:
        async with opened(world) as bank:
            branch = await worked(world, bank, id_of("t1"), 1)
            with pytest.raises(Refused):
                await fail(branch)
            async with branch.savepoint():
                await world.insert(branch, 3)
                with pytest.raises(Refused):
                    async with branch.savepoint():
                        await world.insert(branch, 3)

            assert await branch.prepare() is Vote.YES
            assert await bank.finish(id_of("t1"), Decision.COMMIT) is Decision.COMMIT
            assert world.items() == [1, 3]

    run(story())


@STATEMENTS
def test_a_failure_that_was_swallowed_within_a_savepoint_is_not_forgotten(world: World) -> None:
    async def story() -> None:
        async with opened(world) as bank:
            branch = await worked(world, bank, id_of("t1"), 1)
            async with branch.savepoint():
                with pytest.raises(Refused):
                    await world.insert(branch, 1)
            with pytest.raises(Refused, match="savepoint"):
                await branch.prepare()

            assert world.prepared() == []

    run(story())


@STATEMENTS
def test_an_ended_branch_takes_no_more_statements(world: World) -> None:
    async def story() -> None:
        async with opened(world) as bank:
            branch = await worked(world, bank, id_of("t1"), 1)
            await branch.prepare()
            with pytest.raises(StatementRefused, match="has ended"):
                await world.insert(branch, 2)
            await bank.finish(id_of("t1"), Decision.COMMIT)

            assert world.items() == [1]

    run(story())


@only("takes_statements", "takes_several")
def test_a_cancelled_statement_harms_no_other_branch(world: World) -> None:
    async def story() -> None:
        async with opened(world) as bank:
            holder = await worked(world, bank, id_of("t1"), 1)
            waiter = await bank.begin(id_of("t2"))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await world.insert(waiter, 1)
            await waiter.abort()
            await holder.commit()
            others = await asyncio.gather(*(worked(world, bank, id_of(f"o{n}"), n) for n in range(2, 6)))
            for branch in others:
                await branch.commit()

            assert world.items() == [1, 2, 3, 4, 5]

    run(story())


@only("takes_statements", "takes_several")
def test_no_connection_carries_anything_from_one_branch_to_the_next(world: World) -> None:
    """What a branch leaves on its connection would end up in another one, or roll a prepared one back."""

    async def story() -> None:
        async with opened(world) as bank:
            for n in range(30):
                branch = await worked(world, bank, id_of(f"t{n}"), n)
                if n % 3 == 0:
                    await branch.abort()
                elif n % 3 == 1:
                    await branch.prepare()
                else:
                    await branch.commit()
            kept = [id_of(f"t{n}") for n in range(30) if n % 3 == 1]

            assert sorted(found.branch for found in await bank.in_doubt()) == sorted(kept)
            for id in kept:
                assert await bank.finish(id, Decision.COMMIT) is Decision.COMMIT
            assert world.items() == [n for n in range(30) if n % 3]

    run(story())
