"""A prepared branch does what was decided: whoever says so, how often, and whatever died meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

import pytest

from finality.core.errors import FinalityError, Unavailable
from finality.core.two_phase import Decision
from finality.runtime.unbroken import unbroken
from tests.conformance.participants.kinds import only
from tests.conformance.participants.worlds import (
    AnyParticipant,
    World,
    id_of,
    opened,
    patiently,
    prepared,
    run,
    until,
    worked,
)
from tests.integration.processes import process


async def finished(participant: AnyParticipant, id: str, decision: Decision) -> Decision:
    """Return what the branch has done, asking as a node does: again, while it is out of reach."""
    did: Decision = await patiently(lambda: participant.finish(id_of(id), decision), Unavailable)
    return did


DECISIONS = pytest.mark.parametrize("decision", list(Decision), ids=lambda decision: decision.value)
KEPT = {Decision.COMMIT: [1], Decision.ABORT: []}


@DECISIONS
def test_it_answers_the_same_to_whoever_asks_however_often(world: World, decision: Decision) -> None:
    async def story() -> None:
        async with opened(world) as here, opened(world) as elsewhere:
            await prepared(world, here, id_of("t1"), 1)

            for each in (here, here, elsewhere, elsewhere):
                assert await finished(each, "t1", decision) is decision
            assert world.items() == KEPT[decision]
            assert world.prepared() == []

    run(story())


@DECISIONS
def test_another_process_finishes_it(world: World, decision: Decision) -> None:
    async def story() -> None:
        async with opened(world) as here:
            await prepared(world, here, id_of("t1"), 1)
        async with opened(world) as elsewhere:
            assert await elsewhere.finish(id_of("t1"), decision) is decision
        assert world.items() == KEPT[decision]

    run(story())


@DECISIONS
def test_many_may_finish_it_at_once(world: World, decision: Decision) -> None:
    numbers = [1, 2, 3, 4, 5] if world.takes_several else [1]

    async def story() -> None:
        async with opened(world) as here:
            for n in numbers:
                await prepared(world, here, id_of(f"t{n}"), n)
        async with opened(world) as here, opened(world) as elsewhere:
            answers = await asyncio.gather(
                *(
                    finished(who, f"t{n}", decision)
                    for n in numbers
                    for who in (here, elsewhere, here, elsewhere)
                )
            )

        assert set(answers) == {decision}
        assert world.items() == (numbers if decision is Decision.COMMIT else [])

    run(story())


@only("can_die", "recovers")
@pytest.mark.slow
@DECISIONS
def test_it_survives_the_death_of_the_server(world: World, decision: Decision) -> None:
    async def story() -> None:
        async with opened(world) as bank:
            await prepared(world, bank, id_of("t1"), 1)
            world.kill()

            assert await finished(bank, "t1", decision) is decision
            assert await bank.finish(id_of("t1"), decision) is decision
        assert world.items() == KEPT[decision]

    run(story())


@only("can_die")
def test_a_dead_server_is_out_of_reach_and_nothing_else(world: World) -> None:
    async def story() -> None:
        async with opened(world) as bank:
            branch = await worked(world, bank, id_of("t1"), 1)
            world.kill()
            with pytest.raises(FinalityError):
                await branch.prepare()

            assert await finished(bank, "t1", Decision.ABORT) is Decision.ABORT
            assert world.items() == []

    run(story())


PREPARING = """
from finality.core.ids import TransactionId
from finality.core.two_phase import Vote
from finality.ports.participant import BranchId
from finality.runtime.unbroken import unbroken

async def main():
    bank = {participant}
    await bank.open(SystemEnvironment())
    branch = await bank.begin(BranchId({home!r}, TransactionId("t1"), "bank"))
    await {insert}
    if {is_prepared}:
        assert await branch.prepare() is Vote.YES
    mark("ready")
    await asyncio.Event().wait()

asyncio.run(main())
"""


@only("recovers")
@pytest.mark.slow
@pytest.mark.parametrize("is_prepared", [True, False])
def test_it_survives_the_death_of_its_process(world: World, tmp_path: Path, is_prepared: bool) -> None:
    code = PREPARING.format(
        participant=world.code(), home=id_of("t1").home, insert=world.insert_code, is_prepared=is_prepared
    )

    async def story() -> None:
        async with opened(world) as bank:
            with process(tmp_path, code) as other:
                await until(lambda: other.marked("ready"))
                other.kill()

            if is_prepared:
                assert [found.branch for found in await bank.in_doubt()] == [id_of("t1")]
            decision = Decision.COMMIT if is_prepared else Decision.ABORT
            assert await finished(bank, "t1", decision) is decision
            assert world.items() == KEPT[decision]

    run(story())


@pytest.mark.slow
@only("can_die", "recovers")
def test_it_is_finished_although_its_process_is_paused(world: World, tmp_path: Path) -> None:
    code = PREPARING.format(
        participant=world.code(), home=id_of("t1").home, insert=world.insert_code, is_prepared=True
    )

    async def story() -> None:
        async with opened(world) as bank:
            with process(tmp_path, code) as other:
                await until(lambda: other.marked("ready"))
                other.send(signal.SIGSTOP)

                assert await finished(bank, "t1", Decision.COMMIT) is Decision.COMMIT
                assert world.items() == [1]

    run(story())


@pytest.mark.slow
@only("can_die")
def test_a_vote_goes_on_when_nobody_waits_for_it_any_more(world: World) -> None:
    async def story() -> None:
        async with opened(world) as bank:
            branch = await worked(world, bank, id_of("t1"), 1)
            with world.hold_witnesses() as is_waiting:
                vote = asyncio.create_task(unbroken(branch.prepare()))
                await until(is_waiting)
                vote.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await vote
            await until(lambda: world.prepared() != [])

            assert await finished(bank, "t1", Decision.COMMIT) is Decision.COMMIT
            assert world.items() == [1]

    run(story())


@pytest.mark.slow
@only("can_die")
def test_a_branch_may_be_aborted_while_its_vote_is_under_way(world: World) -> None:
    """So a coordinator does whose deadline has passed: the vote may still come to a yes at the server."""

    async def story() -> None:
        async with opened(world) as bank:
            branch = await worked(world, bank, id_of("t1"), 1)
            with world.hold_witnesses() as is_waiting:
                vote = asyncio.create_task(unbroken(branch.prepare()))
                await until(is_waiting)
                vote.cancel()
                await branch.abort()
            await branch.abort()

            assert await finished(bank, "t1", Decision.ABORT) is Decision.ABORT
            await until(lambda: world.prepared() == [])
            assert world.items() == []
            await (await worked(world, bank, id_of("t2"), 1)).commit()

    run(story())


@pytest.mark.slow
@only("can_die", "takes_statements")
def test_branches_that_wait_for_it_do_not_keep_away_who_finishes_it(world: World) -> None:
    """All connections are taken by branches, one of which waits for what the one in doubt holds."""

    async def story() -> None:
        async with opened(world, connections_max=2) as bank:
            await prepared(world, bank, id_of("t1"), 1)
            waiter = await bank.begin(id_of("t2"))
            waits = asyncio.create_task(world.insert(waiter, 1))
            begins = asyncio.create_task(bank.begin(id_of("t3")))
            await asyncio.wait({waits, begins}, timeout=0.05)

            assert await bank.finish(id_of("t1"), Decision.ABORT) is Decision.ABORT
            await waits
            await waiter.commit()
            await (await begins).abort()
            assert world.items() == [1]

    run(story())


@pytest.mark.slow
@only("can_die", "takes_statements")
def test_a_branch_gives_its_connection_back_though_its_abort_is_cancelled(world: World) -> None:
    """As when the event loop ends: it could be given to nobody any more, or while it is still in use."""

    async def story() -> None:
        async with opened(world, connections_max=1) as bank:
            branch = await worked(world, bank, id_of("t1"), 1)
            abort = asyncio.ensure_future(branch.abort())
            await asyncio.sleep(0)  # The server has been told.
            abort.cancel()
            await asyncio.wait([abort])

            assert abort.cancelled()
            await (await worked(world, bank, id_of("t2"), 1)).commit()
            assert world.items() == [1]

    run(story())


@DECISIONS
def test_a_branch_that_nobody_knows_has_not_committed(world: World, decision: Decision) -> None:
    async def story() -> None:
        async with opened(world) as bank:
            assert await bank.finish(id_of("never"), decision) is Decision.ABORT

    run(story())


def check_told(world: World, by_hand: Decision) -> None:
    """Finish a branch by hand, against its decision."""
    decision = Decision.ABORT if by_hand is Decision.COMMIT else Decision.COMMIT

    async def story() -> None:
        async with opened(world) as bank:
            await prepared(world, bank, id_of("t1"), 1)
        world.finish_by_hand(id_of("t1"), by_hand)
        async with opened(world) as bank:
            assert await bank.finish(id_of("t1"), decision) is by_hand
            assert await bank.finish(id_of("t1"), decision) is by_hand
        assert world.items() == KEPT[by_hand]

    run(story())


def test_what_was_aborted_by_hand_is_told(world: World) -> None:
    check_told(world, Decision.ABORT)


@only("can_commit_by_hand")
def test_what_was_committed_by_hand_is_told(world: World) -> None:
    check_told(world, Decision.COMMIT)


@only("can_die")
@pytest.mark.slow
@pytest.mark.parametrize("is_killed", [False, True], ids=["session-cut", "server-killed"])
def test_a_crash_between_witness_and_prepare_leaves_nothing(world: World, is_killed: bool) -> None:
    async def story() -> None:
        async with opened(world) as bank:
            branch = await worked(world, bank, id_of("t1"), 1)
            with world.hold_witnesses() as is_waiting, contextlib.suppress(BrokenPipeError):
                vote = asyncio.create_task(unbroken(branch.prepare()))
                await until(is_waiting)
                if is_killed:
                    world.kill()
                else:
                    world.cut(branch)
                with pytest.raises(Unavailable):
                    await vote
            await branch.abort()

            assert await finished(bank, "t1", Decision.ABORT) is Decision.ABORT
            assert await bank.finish(id_of("t1"), Decision.COMMIT) is Decision.ABORT
            assert world.items() == []
            assert world.prepared() == []

    run(story())
