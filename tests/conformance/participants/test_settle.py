"""The outcome of a one-phase commit whose answer was lost is found out once, and then stands for ever."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

import pytest

from finality.core.errors import OutcomeUnknown, TransactionAborted, Unavailable
from finality.core.two_phase import Decision
from tests.conformance.participants.kinds import only
from tests.conformance.participants.worlds import (
    AnyBranch,
    AnyParticipant,
    ServerWorld,
    World,
    id_of,
    opened,
    patiently,
    run,
    until,
    worked,
)


def test_what_has_committed_stays_committed(world: World) -> None:
    async def story() -> None:
        async with opened(world) as here, opened(world) as elsewhere:
            await (await worked(world, here, id_of("t1"), 1)).commit()

            for each in (here, elsewhere, here):
                assert await each.settle(id_of("t1")) is Decision.COMMIT
            assert world.items() == [1]

    run(story())


@only("takes_several")
def test_what_has_not_committed_when_asked_never_will(world: World) -> None:
    async def story() -> None:
        async with opened(world) as here, opened(world) as elsewhere:
            branch = await worked(world, here, id_of("t1"), 1)

            assert await elsewhere.settle(id_of("t1")) is Decision.ABORT
            with pytest.raises(TransactionAborted):
                await branch.commit()
            assert await here.settle(id_of("t1")) is Decision.ABORT
            assert world.items() == []

    run(story())


def test_what_was_never_begun_has_not_committed(world: World) -> None:
    async def story() -> None:
        async with opened(world) as bank:
            assert await bank.settle(id_of("t1")) is Decision.ABORT
            assert await bank.settle(id_of("t1")) is Decision.ABORT
            with pytest.raises(TransactionAborted):
                await (await worked(world, bank, id_of("t1"), 1)).commit()
            assert world.items() == []

    run(story())


@only("can_die")
@pytest.mark.slow
def test_a_commit_under_way_is_waited_for(world: World) -> None:
    async def story() -> None:
        async with opened(world) as here, opened(world) as elsewhere:
            branch = await worked(world, here, id_of("t1"), 1)
            with world.hold_witnesses() as is_waiting:
                commit = asyncio.create_task(branch.commit())
                await until(is_waiting)
                asked = asyncio.create_task(patiently(lambda: elsewhere.settle(id_of("t1")), Unavailable))
                await asyncio.wait({asked}, timeout=0.1)

                assert not asked.done()
            await commit

            assert await asked is Decision.COMMIT
            assert world.items() == [1]

    run(story())


@only("can_die")
@pytest.mark.slow
def test_a_commit_cut_off_is_unknown_and_then_known(world: World) -> None:
    async def story() -> None:
        async with opened(world) as bank:
            branch = await worked(world, bank, id_of("t1"), 1)
            with world.hold_witnesses() as is_waiting, contextlib.suppress(BrokenPipeError):
                commit = asyncio.create_task(branch.commit())
                await until(is_waiting)
                world.kill()
                with pytest.raises(OutcomeUnknown):
                    await commit

            assert await patiently(lambda: bank.settle(id_of("t1")), Unavailable) is Decision.ABORT
            assert world.items() == []

    run(story())


@only("can_die")
def test_witnesses_are_kept_as_long_as_was_asked_for(world: ServerWorld) -> None:
    async def story() -> None:
        async with opened(world, witness_kept=timedelta(days=1)) as bank:
            await (await worked(world, bank, id_of("t1"), 1)).commit()
            await bank.in_doubt()

            assert world.witnesses() == 1

        async with opened(world, witness_kept=timedelta(0)) as bank:
            await (await worked(world, bank, id_of("t2"), 2)).prepare()
            await bank.in_doubt()
            await bank.finish(id_of("t2"), Decision.COMMIT)

            assert world.witnesses() == 1
            assert await bank.settle(id_of("t2")) is Decision.COMMIT

    run(story())


@pytest.mark.slow
def test_settling_races_with_committing_and_both_say_the_same(world: World) -> None:
    async def commit(branch: AnyBranch) -> Decision:
        try:
            await branch.commit()
        except TransactionAborted:
            return Decision.ABORT
        return Decision.COMMIT

    async def settled(participant: AnyParticipant, id: str) -> Decision:
        said: Decision = await patiently(lambda: participant.settle(id_of(id)), Unavailable)
        return said

    async def story() -> None:
        async with opened(world) as here, opened(world) as elsewhere:
            for n in range(30):
                branch = await worked(world, here, id_of(f"t{n}"), n)
                heard = await asyncio.gather(
                    commit(branch),
                    settled(elsewhere, f"t{n}"),
                    settled(here, f"t{n}"),
                )

                assert len(set(heard)) == 1, heard
                assert (n in world.items()) is (heard[0] is Decision.COMMIT)

    run(story())
