"""Transactions over several participants: what a block promises, whatever message is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

import finality
from finality.core.errors import Unavailable
from finality.core.ids import TransactionId
from finality.core.two_phase import Decided, Decision
from finality.node.insides import Insides
from finality.ports.participant import BranchId
from finality.runtime.recovery import Recovery
from finality.testing import SimulatedParticipant
from tests.integration.kit import MovedClock

ALICE, BOB = "alice", "bob"


@dataclass
class Stage:
    """A home and two participants, and as many nodes on them as a test wants."""

    url: str
    clock: MovedClock
    bank: SimulatedParticipant
    shop: SimulatedParticipant

    @asynccontextmanager
    async def node(self) -> AsyncIterator[finality.AsyncNode]:
        """Open a node that sweeps only when it is told to."""
        node = finality.open_async(self.url, participants=[self.bank, self.shop], environment=self.clock)
        async with node:
            await insides_of(node).recovery.stop()
            yield node

    @property
    def total(self) -> int:
        """Return all money there is."""
        return sum(self.bank.numbers.values()) + sum(self.shop.numbers.values())


def insides_of(node: finality.AsyncNode) -> Insides:
    """Return what the node is made of."""
    return node._insides


async def drain(stage: Stage, node: finality.AsyncNode) -> None:
    """Sweep until nothing is left, as the loop does."""
    recovery: Recovery = insides_of(node).recovery
    await insides_of(node).commitments.recording.drain()
    await recovery.sweep()  # It sees what is in doubt for the first time.
    stage.clock.move(seconds=3)
    await recovery.sweep()
    await recovery.sweep()


@pytest.fixture
def stage(request: pytest.FixtureRequest) -> Stage:
    bank, shop = SimulatedParticipant("bank"), SimulatedParticipant("shop")
    bank.numbers = {ALICE: 100}
    shop.numbers = {BOB: 0}
    return Stage(f"memory://{request.node.name}", MovedClock(), bank, shop)


async def pay(stage: Stage, node: finality.AsyncNode, amount: int = 30, **options: Any) -> None:
    """Move money from the bank to the shop."""
    async with node.transaction(**options) as tx:
        at_bank, at_shop = await tx.enlist(stage.bank), await tx.enlist(stage.shop)
        at_bank.add(ALICE, -amount)
        at_shop.add(BOB, amount)


def test_all_branches_commit_together(stage: Stage) -> None:
    async def main() -> None:
        async with stage.node() as node:
            await pay(stage, node)
            await insides_of(node).commitments.recording.drain()
            [head] = await node.transactions()

            assert (head.kind, head.status) == ("two-phase", "committed")
            assert (stage.bank.numbers, stage.shop.numbers) == ({ALICE: 70}, {BOB: 30})
            assert await node.decision(head.id) is Decision.COMMIT

    asyncio.run(main())


def test_a_no_undoes_every_branch_and_says_why(stage: Stage) -> None:
    async def main() -> None:
        async with stage.node() as node:
            with pytest.raises(finality.Refused, match="alice would end below zero") as refused:
                await pay(stage, node, amount=101)
            [head] = await node.transactions()

            assert refused.value.branch == "bank"
            assert head.id == refused.value.transaction_id
            assert head.status == "aborted"
            assert (stage.bank.numbers, stage.shop.numbers) == ({ALICE: 100}, {BOB: 0})
            assert not stage.shop.prepared
            assert not stage.shop.locks

    asyncio.run(main())


def test_a_block_that_raises_leaves_nothing_of_any_branch(stage: Stage) -> None:
    async def fail(node: finality.AsyncNode) -> None:
        async with node.transaction() as tx:
            (await tx.enlist(stage.bank)).add(ALICE, -1)
            raise LookupError

    async def main() -> None:
        async with stage.node() as node:
            with pytest.raises(LookupError):
                await fail(node)
            [head] = await node.transactions()
            [aborted] = await node.history(head.id)

            assert aborted.event == Decided(Decision.ABORT, (), "its block raised LookupError()")
            assert (stage.bank.numbers, stage.bank.locks) == ({ALICE: 100}, {})

    asyncio.run(main())


def test_one_branch_commits_in_one_phase(stage: Stage) -> None:
    async def main() -> None:
        async with stage.node() as node:
            async with node.transaction() as tx:
                (await tx.enlist(stage.bank)).add(ALICE, -1)
            async with node.transaction() as other:
                (await other.enlist(stage.bank)).add(ALICE, -1)

            assert stage.bank.numbers == {ALICE: 98}
            assert await node.transactions() == []
            assert await node.decision(tx.id) is Decision.COMMIT

    asyncio.run(main())


def test_a_branch_that_only_reads_drops_out_at_the_vote(stage: Stage) -> None:
    async def main() -> None:
        async with stage.node() as node:
            async with node.transaction() as tx:
                seen = (await tx.enlist(stage.bank)).read(ALICE)
                (await tx.enlist(stage.shop)).add(BOB, seen)
            [recorded, *_] = await node.history(tx.id)

            assert recorded.event == Decided(Decision.COMMIT, ("shop",))
            assert stage.shop.numbers == {BOB: 100}

    asyncio.run(main())


def test_work_at_home_commits_with_the_decision(stage: Stage) -> None:
    async def note(node: finality.AsyncNode, who: str, amount: int) -> None:
        async with node.transaction() as tx:
            await tx.execute("INSERT INTO paid VALUES (?)", who)
            (await tx.enlist(stage.bank)).add(ALICE, -amount)

    async def main() -> None:
        async with stage.node() as node:
            await node.run(lambda tx: tx.execute("CREATE TABLE paid (who TEXT)"))
            await note(node, ALICE, 10)
            with pytest.raises(finality.Refused):
                await note(node, BOB, 1_000)

            assert await node.query("SELECT who FROM paid") == [(ALICE,)]
            assert stage.bank.numbers == {ALICE: 90}

    asyncio.run(main())


def test_home_work_does_not_commit_once_another_node_has_given_up(stage: Stage) -> None:
    given_up = Decided(Decision.ABORT, (), "given up")

    async def pay_too_late(node: finality.AsyncNode) -> None:
        async with node.transaction() as tx:
            (await tx.enlist(stage.bank)).add(ALICE, -10)
            decisions = insides_of(node).decisions
            await decisions.decide(tx.id, given_up)
            await tx.execute("INSERT INTO paid VALUES (?)", ALICE)

    async def main() -> None:
        async with stage.node() as node:
            await node.run(lambda tx: tx.execute("CREATE TABLE paid (who TEXT)"))
            with pytest.raises(finality.Conflict, match="given up"):
                await pay_too_late(node)

            assert await node.query("SELECT who FROM paid") == []
            assert (stage.bank.numbers, stage.bank.prepared) == ({ALICE: 100}, {})

    asyncio.run(main())


def test_a_deadline_that_passes_in_the_block_aborts(stage: Stage) -> None:
    async def dawdle(node: finality.AsyncNode) -> None:
        async with node.transaction(deadline=timedelta(milliseconds=10)) as tx:
            (await tx.enlist(stage.bank)).add(ALICE, -1)
            await asyncio.Event().wait()

    async def main() -> None:
        async with stage.node() as node:
            with pytest.raises(finality.DeadlinePassed):
                await dawdle(node)

            assert (stage.bank.numbers, stage.bank.locks) == ({ALICE: 100}, {})

    asyncio.run(main())


def test_a_block_that_ends_after_its_deadline_aborts(stage: Stage) -> None:
    """The synchronous face cannot interrupt the block, so its end asks the clock."""
    with finality.open(stage.url, participants=[stage.bank], environment=stage.clock) as node:
        node.run(lambda tx: tx.execute("CREATE TABLE paid (who TEXT)"))

        def dawdle(*, is_enlisted: bool) -> None:
            with node.transaction(deadline=timedelta(seconds=1)) as tx:
                tx.execute("INSERT INTO paid VALUES (?)", ALICE)
                if is_enlisted:
                    tx.enlist(stage.bank).add(ALICE, -1)
                stage.clock.move(seconds=2)

        for is_enlisted in (False, True):
            with pytest.raises(finality.DeadlinePassed):
                dawdle(is_enlisted=is_enlisted)

        assert node.query("SELECT who FROM paid") == []
        assert (stage.bank.numbers, stage.bank.locks) == ({ALICE: 100}, {})


def test_a_conflict_is_run_again_and_keeps_its_age(stage: Stage) -> None:
    async def main() -> None:
        ids = []
        stage.bank.locks = {ALICE: BranchId("h", TransactionId("t"), "bank")}

        async def take(tx: finality.Transaction) -> int:
            ids.append(tx.id)
            if len(ids) == 3:
                stage.bank.locks = {}
            branch = await tx.enlist(stage.bank)
            branch.add(ALICE, -5)
            return branch.read(ALICE)

        async with stage.node() as node:
            left = await node.run(take)

        assert left == 95
        assert len(ids) == len(set(ids)) == 3
        assert len({id[:13] for id in ids}) == 1, "the first part of an id is the time it was born"

    asyncio.run(main())


def test_a_participant_that_the_node_does_not_know_is_refused(stage: Stage) -> None:
    async def main() -> None:
        stranger = SimulatedParticipant("stranger")
        async with stage.node() as node:
            with pytest.raises(finality.NotFound, match=r"open it with participants=\[…\]"):
                async with node.transaction() as tx:
                    await tx.enlist(stranger)

    asyncio.run(main())


@pytest.mark.parametrize("which", ["bank", "shop"])
def test_whatever_message_is_lost_every_branch_agrees(stage: Stage, which: str) -> None:
    """Lose the first message, then the second, … until a run ends untouched; recover, and look."""

    async def main() -> None:
        there = stage.bank if which == "bank" else stage.shop
        lost, outcomes = 0, []
        async with stage.node() as node:
            while True:
                lost += 1
                there.messages, there.cut_at = 0, lost
                before = dict(stage.bank.numbers), dict(stage.shop.numbers)
                try:
                    await pay(stage, node, amount=1)
                    outcomes.append("committed")
                except finality.TransactionAborted:
                    outcomes.append("aborted")
                except Unavailable:
                    outcomes.append("not begun")
                untouched = there.messages < lost
                there.cut_at = None
                await drain(stage, node)

                has_moved = (stage.bank.numbers, stage.shop.numbers) != before
                assert stage.total == 100, f"message {lost} was lost"
                assert has_moved is (outcomes[-1] == "committed")
                assert [stage.bank.prepared, stage.shop.prepared] == [{}, {}]
                assert [stage.bank.locks, stage.shop.locks] == [{}, {}]
                assert await node.transactions(is_open=True) == []
                if untouched:
                    break

        assert {"committed", "aborted", "not begun"} == set(outcomes)

    asyncio.run(main())


def test_a_branch_left_undecided_is_aborted_after_its_grace(stage: Stage) -> None:
    async def main() -> None:
        async with stage.node() as node:
            tx = insides_of(node).transactions.begin(None, None)
            branch = await tx.enlist(stage.bank)
            branch.add(ALICE, -10)
            await branch.prepare()
            insides_of(node).commitments.under_way.clear()  # As if its process had died.
            await insides_of(node).recovery.sweep()
            assert stage.bank.prepared, "its coordinator has time to decide"
            await drain(stage, node)
            [head] = await node.transactions()

            assert (stage.bank.prepared, stage.bank.numbers) == ({}, {ALICE: 100})
            assert (head.id, head.status) == (tx.id, "aborted")
            assert await node.decision(tx.id) is Decision.ABORT

    asyncio.run(main())


def test_a_branch_committed_by_hand_before_any_decision_is_found(stage: Stage) -> None:
    async def main() -> None:
        async with stage.node() as node:
            await pay(stage, node)  # Its witnesses have a decision, and are left alone.
            tx = insides_of(node).transactions.begin(None, None)
            branch = await tx.enlist(stage.bank)
            branch.add(ALICE, -10)
            await branch.prepare()
            stage.bank.end(branch.id, Decision.COMMIT)  # A person thinks that nobody will come.
            insides_of(node).commitments.under_way.clear()  # Its process has died.
            stage.clock.move(seconds=10)
            await drain(stage, node)
            [stuck] = await node.transactions(is_open=True)

            assert (stuck.id, stuck.status) == (tx.id, "stuck")
            assert "bank: committed" in str(await node.explain(tx.id))
            assert await node.decision(tx.id) is Decision.ABORT

    asyncio.run(main())


def test_a_branch_of_another_home_is_told_and_left_alone(stage: Stage) -> None:
    async def main() -> None:
        foreign = BranchId("another", TransactionId("t"), "bank")
        stage.bank.prepared[foreign] = {ALICE: -1}
        async with stage.node() as node:
            await drain(stage, node)
            [doubt] = await node.in_doubt()

            assert doubt.is_foreign
            assert doubt.found.branch == foreign
            assert foreign in stage.bank.prepared

    asyncio.run(main())


def test_a_branch_finished_by_hand_is_told_until_a_person_accepts_it(stage: Stage) -> None:
    async def main() -> None:
        async with stage.node() as node:
            stage.shop.messages, stage.shop.cut_at = 0, 4  # The decision does not arrive.
            await pay(stage, node)
            [branch] = stage.shop.prepared
            stage.shop.end(branch, Decision.ABORT)  # A person thinks that nobody will come.
            await drain(stage, node)
            [stuck] = await node.transactions(is_open=True)

            assert stuck.status == "stuck"
            assert await node.resolve(stuck.id, Decision.COMMIT, because="paid in cash", by="ann")
            assert [head.status for head in await node.transactions()] == ["committed"]
            with pytest.raises(finality.InputMismatch):
                await node.resolve(stuck.id, Decision.ABORT, because="no")

    asyncio.run(main())


def test_a_person_may_decide_for_a_branch_in_doubt(stage: Stage) -> None:
    async def main() -> None:
        async with stage.node() as node:
            tx = insides_of(node).transactions.begin(None, None)
            branch = await tx.enlist(stage.bank)
            branch.add(ALICE, -10)
            await branch.prepare()
            insides_of(node).commitments.under_way.clear()

            assert await node.resolve(tx.id, Decision.COMMIT, because="the shop has delivered", by="ann")
            assert stage.bank.numbers == {ALICE: 90}
            [decided, _] = await node.history(tx.id)
            assert (decided.event.by, decided.event.because) == ("ann", "the shop has delivered")
            with pytest.raises(finality.NotFound):
                await node.resolve("nobody", Decision.ABORT, because="?")

    asyncio.run(main())
