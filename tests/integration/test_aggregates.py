"""Aggregates in whole nodes: in blocks, functions, steps and two-phase commit, on every kind of home."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import finality
from finality.core.errors import DefinitionError, NotFound
from finality.runtime.sourcing.turn import written
from tests.core.accounts import Account, CourseOpened, Deposited, SeatTaken, Withdrawn
from tests.integration.kit import MovedClock, url_of, within

Story = Callable[[finality.AsyncNode], Coroutine[Any, Any, None]]

KINDS = [
    "memory",
    "sqlite",
    pytest.param("postgres", marks=[pytest.mark.slow, pytest.mark.xdist_group("postgres")]),
]


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of an empty home store of each kind."""
    match request.param:
        case "memory":
            return f"memory://{tmp_path.name}"
        case "sqlite":
            return url_of(tmp_path)
        case _:
            made: str = request.getfixturevalue("finality_postgres").database()
            return made


def play(url: str, story: Story, **options: Any) -> None:
    """Run *story* with a node on *url*."""

    async def whole() -> None:
        async with finality.open_async(url, **options) as node:
            await within(story(node))

    asyncio.run(whole())


async def happened(node: finality.AsyncNode, id: str = "a") -> list[Any]:
    return [recorded.event for recorded in await node.events(Account, id)]


def test_a_block_appends_what_was_decided_and_sees_it_at_once(url: str) -> None:
    async def story(node: finality.AsyncNode) -> None:
        async with node.transaction() as tx:
            account = await tx.load(Account, "a")
            meta = finality.Meta(by="ada", more={"at": "till 7"})
            version = await tx.append(account, account.deposit(100), Withdrawn(30), meta=meta)
            again = await tx.load(Account, "a")
            other = await tx.load(Account, "b")
            await tx.append(other, other.deposit(30))

        first, second = await node.events(Account, "a")

        assert (version, again, again.loaded.version, again.loaded.id) == (2, Account(70), 2, "a")
        assert (first.event, second.event) == (Deposited(100), Withdrawn(30))
        assert first.meta == second.meta == finality.Meta("ada", "", tx.id, {"at": "till 7"})
        assert await node.load(Account, "b") == Account(30)

    play(url, story)


def test_a_block_that_fails_appends_nothing(url: str) -> None:
    async def story(node: finality.AsyncNode) -> None:
        async def spend(tx: finality.Transaction) -> None:
            account = await tx.load(Account, "a")
            await tx.append(account, account.deposit(5))
            (await tx.load(Account, "a")).withdraw(6)

        with pytest.raises(finality.Refused, match="not enough money: 5"):
            await node.run(spend)

        assert (await node.load(Account, "a")).loaded.version == 0
        with pytest.raises(NotFound, match="no Account has the id 'a'"):
            await node.events(Account, "a")

    play(url, story)


def test_whoever_decided_on_an_older_version_conflicts_and_run_decides_anew(url: str) -> None:
    async def story(node: finality.AsyncNode) -> None:
        await node.decide(Account, "a", lambda account: account.deposit(10))
        rounds: list[int] = []

        async def withdraw(tx: finality.Transaction) -> None:
            account = await node.load(Account, "a")
            rounds.append(account.balance)
            if len(rounds) == 1:
                await node.decide(Account, "a", lambda account: account.deposit(1))
            await tx.append(account, account.withdraw(account.balance))

        await node.run(withdraw)

        assert rounds == [10, 11]
        assert await happened(node) == [Deposited(10), Deposited(1), Withdrawn(11)]

    play(url, story)


def test_decisions_of_two_nodes_at_once_are_each_made_once(url: str) -> None:
    async def story(node: finality.AsyncNode) -> None:
        async with finality.open_async(url) as other:
            nodes = [node, other] * 10
            await asyncio.gather(*(each.decide(Account, "a", lambda a: a.deposit(1)) for each in nodes))

        assert await node.load(Account, "a") == Account(20)
        assert len(await happened(node)) == 20

    play(url, story)


def test_a_decision_returns_what_came_of_it_and_may_be_several_events_or_none(url: str) -> None:
    async def story(node: finality.AsyncNode) -> None:
        both = await node.decide(Account, "a", lambda account: [account.deposit(3), account.deposit(4)])
        same = await node.decide(Account, "a", lambda account: None)
        with pytest.raises(finality.Refused):
            await node.decide(Account, "a", lambda account: account.withdraw(8))

        assert (both, both.loaded.version) == (same, same.loaded.version) == (Account(7), 2)
        assert await happened(node) == [Deposited(3), Deposited(4)]

    play(url, story)


def test_a_plain_function_loads_and_appends_in_one_turn(url: str) -> None:
    async def story(node: finality.AsyncNode) -> None:
        def move(tx: finality.SyncTx) -> Account:
            one, other = tx.load(Account, "a"), tx.load(Account, "b")
            tx.append(one, one.deposit(5), meta=finality.Meta(causation_id="letter 1"))
            tx.append(other, other.deposit(6))
            return tx.load(Account, "a")

        assert await node.run(move) == Account(5)
        [first] = await node.events(Account, "a")
        assert first.meta == finality.Meta(causation_id="letter 1")

    play(url, story)


@dataclass(frozen=True)
class Pay(finality.Saga):
    amount: int
    fails: bool = False

    @finality.step
    async def taken(self, tx: finality.Tx) -> int:
        account = await tx.load(Account, "a")
        return await tx.append(account, account.withdraw(self.amount))

    @taken.compensate
    async def returned(self, tx: finality.Tx) -> None:
        account = await tx.load(Account, "a")
        await tx.append(account, account.deposit(self.amount))

    @finality.pivot
    def paid(self, tx: finality.SyncTx, taken: int) -> int:
        shop = tx.load(Account, "shop")
        tx.append(shop, shop.deposit(self.amount))
        if self.fails:
            raise finality.Refused("closed")
        return taken


def test_the_steps_of_a_saga_append_and_are_known_by_its_id(url: str) -> None:
    async def story(node: finality.AsyncNode) -> None:
        await node.decide(Account, "a", lambda account: account.deposit(10))
        done = await (await node.start(Pay(3), id="pay-1")).outcome()
        undone = await (await node.start(Pay(4, fails=True), id="pay-2")).outcome()

        assert (done.status, undone.status) == (finality.COMPLETED, finality.COMPENSATED)
        assert await happened(node) == [Deposited(10), Withdrawn(3), Withdrawn(4), Deposited(4)]
        assert await happened(node, "shop") == [Deposited(3)]
        told = await node.events(Account, "a")
        assert [each.meta.correlation_id for each in told[1:] if each.meta] == ["pay-1", "pay-2", "pay-2"]

    play(url, story, sagas=[Pay])


def test_what_is_appended_commits_with_the_branches_of_the_transaction_or_not_at_all(
    url: str, tmp_path: Path
) -> None:
    bank = finality.sqlite(url_of(tmp_path, "bank"), name="bank")
    with finality.open(url_of(tmp_path, "bank")) as at_bank:
        at_bank.run(lambda tx: tx.execute("CREATE TABLE paid (id INTEGER PRIMARY KEY)"))

    async def story(node: finality.AsyncNode) -> None:
        async def pay(id: int) -> None:
            async with node.transaction() as tx:
                at_bank = await tx.enlist(bank)
                await at_bank.execute("INSERT INTO paid VALUES (?)", id)
                account = await tx.load(Account, "a")
                await tx.append(account, account.deposit(id))

        await pay(1)
        with pytest.raises(finality.TransactionAborted):
            await pay(1)

        assert await happened(node) == [Deposited(1)]

    play(url, story, participants=[bank])


def test_a_snapshot_is_taken_in_time_and_nothing_is_lost_without_it(url: str) -> None:
    async def story(node: finality.AsyncNode) -> None:
        for _ in range(4):
            await node.decide(Account, "a", lambda account: [account.deposit(1)] * 3)
        home = (await node.opened()).home
        source = await home.sources.find("Account/a")  # type: ignore[arg-type]  # it is one

        assert source is not None
        assert source.snapshot is not None
        assert source.snapshot.version == 12
        assert (await node.load(Account, "a")).balance == 12
        assert await node.load(Account, "a", at=7) == Account(7)

        # Of a shape that no code has: as good as deleted.
        gone = replace(source.snapshot, shape="gone", data=b"?")
        await written(home, "spoil", lambda sources: sources.keep_snapshot(source.name, gone))
        assert (await node.load(Account, "a")).balance == 12
        unreadable = replace(source.snapshot, data=b'{"balance":"?"}')
        await written(home, "spoil", lambda sources: sources.keep_snapshot(source.name, unreadable))
        assert (await node.load(Account, "a")).balance == 12
        assert await node.run(lambda tx: tx.load(Account, "a")) == Account(12)
        await node.decide(Account, "a", lambda account: [account.deposit(1)] * 5)
        again = await home.sources.find(source.name)
        assert again is not None
        assert again.snapshot is not None
        assert (again.snapshot.version, again.snapshot.shape) == (17, source.snapshot.shape)

    play(url, story)


def test_an_aggregate_is_seen_as_it_was_and_nothing_is_decided_on_that(url: str) -> None:
    clock = MovedClock()

    async def story(node: finality.AsyncNode) -> None:
        await node.decide(Account, "a", lambda account: account.deposit(1))
        clock.move(hours=1)
        between = datetime.fromtimestamp(clock.now(), UTC)
        clock.move(hours=1)
        await node.decide(Account, "a", lambda account: account.deposit(2))

        old = await node.load(Account, "a", at=between)
        async with node.transaction() as tx:
            older = await tx.load(Account, "a", at=0)
            with pytest.raises(DefinitionError, match="loaded as it was at version 1"):
                await tx.append(old, old.deposit(1))

        assert (old, older) == (Account(1), Account(0))
        assert (await node.load(Account, "a")).balance == 3

    play(url, story, environment=clock)


def test_an_aggregate_that_was_appended_to_is_loaded_again_before_the_next_decision(url: str) -> None:
    async def story(node: finality.AsyncNode) -> None:
        async with node.transaction() as tx:
            account = await tx.load(Account, "a")
            await tx.append(account, account.deposit(1))
            with pytest.raises(DefinitionError, match="load it again"):
                await tx.append(account, account.deposit(1))

        assert await happened(node) == [Deposited(1)]

    play(url, story)


def test_aggregates_are_listed_in_pages_and_those_that_are_archived_take_no_more(url: str) -> None:
    async def story(node: finality.AsyncNode) -> None:
        for id in "bac":
            await node.decide(Account, id, lambda account: account.deposit(1))

        assert await node.archive(Account, "b", because="moved away", by="ada")
        assert not await node.archive(Account, "b", because="again")

        listed = await node.aggregates(Account)
        assert [each.loaded.id for each in listed] == ["a", "c"]
        assert [each.loaded.id for each in await node.aggregates(Account, after="a")] == ["c"]
        assert [each.loaded.id for each in await node.aggregates(Account, with_archived=True)] == [*"abc"]
        with pytest.raises(finality.Refused, match="Account b is archived"):
            await node.decide(Account, "b", lambda account: account.deposit(1))
        assert await happened(node, "b") == [Deposited(1), finality.Archived("moved away", "ada")]
        with pytest.raises(NotFound):
            await node.archive(Account, "never", because="?")

    play(url, story)


def test_a_decision_on_events_of_several_streams_conflicts_with_any_other_that_matches(url: str) -> None:
    def asked(student: str) -> finality.Events[CourseOpened | SeatTaken]:
        return finality.events(CourseOpened, SeatTaken, course="c1") | finality.events(
            SeatTaken, student=student
        )

    async def enrol(node: finality.AsyncNode, student: str) -> None:
        async def decide(tx: finality.Transaction) -> None:
            found = await tx.read(asked(student))
            seats = sum(event.seats for event in found if isinstance(event, CourseOpened))
            if len(found) - 1 >= seats:
                raise finality.Refused("the course is full")
            await tx.append(found, SeatTaken("c1", student))

        await node.run(decide)

    async def story(node: finality.AsyncNode) -> None:
        def open_course(tx: finality.SyncTx) -> None:
            tx.append(tx.read(asked("")), CourseOpened("c1", 3))

        await node.run(open_course)
        async with finality.open_async(url) as other:
            outcomes = await asyncio.gather(
                *(enrol([node, other][n % 2], f"s{n}") for n in range(8)), return_exceptions=True
            )

        assert sum(outcome is None for outcome in outcomes) == 3
        assert sum(isinstance(outcome, finality.Refused) for outcome in outcomes) == 5

    play(url, story)


def test_a_node_without_await_does_the_same(tmp_path: Path) -> None:
    with finality.open(url_of(tmp_path)) as node:
        node.decide(Account, "a", lambda account: account.deposit(10))
        with node.transaction() as tx:
            account = tx.load(Account, "a")
            tx.append(account, account.withdraw(4))
            tx.append(tx.read(finality.events(SeatTaken, course="c1")), SeatTaken("c1", "s1"))

        assert node.load(Account, "a") == Account(6)
        assert node.load(Account, "a", at=1) == Account(10)
        assert [each.loaded.id for each in node.aggregates(Account)] == ["a"]
        assert len(node.events(Account, "a")) == 2
        assert node.archive(Account, "a", because="over")


def test_aggregates_are_kept_in_the_home_store_only(tmp_path: Path) -> None:
    async def story(node: finality.AsyncNode) -> None:
        async with node.transaction(at="ledger") as tx:
            with pytest.raises(DefinitionError, match="kept in the home store"):
                await tx.load(Account, "a")

    play("memory://", story, stores={"ledger": url_of(tmp_path)})


@pytest.mark.parametrize("id", ["", "a/b", "a b", "é", "x" * 201])
def test_an_id_that_is_not_plain_is_refused(id: str) -> None:
    async def story(node: finality.AsyncNode) -> None:
        with pytest.raises(ValueError, match="an aggregate cannot have the id"):
            await node.load(Account, id)

    play("memory://", story)
