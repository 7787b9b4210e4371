"""A SQLite file as a participant: one branch at a time, on a thread of its own, in a node's transaction."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

import finality
from finality.adapters.system.environment import SystemEnvironment
from finality.core.errors import Conflict, Refused, TransactionAborted, Unavailable
from finality.core.two_phase import Decision, Vote
from finality.ports.store import StatementRefused
from tests.integration.sqlite_branches import Bank, committed, id_of, prepared, run, worked

SCHEMA = ("CREATE TABLE account (id TEXT PRIMARY KEY, n INTEGER)", "INSERT INTO account VALUES ('a', 100)")
PAY = "UPDATE account SET n = n - 30 WHERE id = 'a'"
FOR_EVER = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    return Bank(tmp_path / "bank.db", *SCHEMA)


def test_a_transaction_spans_two_files(tmp_path: Path) -> None:
    bank, shop = Bank(tmp_path / "bank.db", *SCHEMA), Bank(tmp_path / "shop.db", *SCHEMA)
    at_bank = finality.sqlite(bank.path, name="bank")
    at_shop = finality.sqlite(f"sqlite:///{shop.path}", name="shop")

    async def pay(amount: int) -> None:
        async with (
            finality.open_async(f"sqlite:///{tmp_path}/home.db", participants=[at_bank, at_shop]) as node,
            node.transaction() as tx,
        ):
            account, till = await tx.enlist(at_bank), await tx.enlist(at_shop)
            await account.execute("UPDATE account SET n = n - $1 WHERE n >= $1", amount)
            await till.execute("UPDATE account SET n = n + $1", amount)
            [(left,)] = await account.execute("SELECT n FROM account")
            if left == 0:
                raise Refused("nothing would be left")

    run(pay(30))
    with pytest.raises(Refused):
        run(pay(70))

    assert bank.sql("SELECT n FROM account") == [(70,)]
    assert shop.sql("SELECT n FROM account") == [(130,)]
    assert bank.sql("SELECT outcome FROM finality_branch") == [("commit",)]


def test_branches_take_turns_in_the_order_of_asking(bank: Bank) -> None:
    async def story() -> None:
        async with bank.opened() as participant:
            order: list[str] = []

            async def one(id: str) -> None:
                await committed(participant, id, PAY)
                order.append(id)

            await asyncio.gather(*(one(f"t{n}") for n in range(8)))

            assert order == [f"t{n}" for n in range(8)]

    run(story())

    assert bank.sql("SELECT n FROM account") == [(100 - 8 * 30,)]


def test_whoever_waits_in_vain_hears_for_whom(bank: Bank) -> None:
    async def story() -> None:
        async with bank.opened() as here, bank.opened() as elsewhere:
            branch = await worked(here, "t1", PAY)
            soon = here.now() + 0.05
            with pytest.raises(
                Conflict, match=r"t2:bank could not begin: branch \S+:t1:bank is at work there"
            ):
                await here.begin(id_of("t2"), deadline=soon)
            with pytest.raises(Conflict, match="somebody else writes to it"):
                await elsewhere.begin(id_of("t2"), deadline=soon + 0.05)
            await branch.prepare()
            for each in (here, elsewhere):
                with pytest.raises(Conflict, match="transaction t1 is in doubt"):
                    await each.begin(id_of("t2"), deadline=here.now() + 0.05)
            await elsewhere.finish(id_of("t1"), Decision.ABORT)
            await committed(here, "t2", PAY)

    run(story())


def test_a_second_branch_of_a_transaction_is_refused_at_once(bank: Bank) -> None:
    """It would wait for the first, which waits for the transaction to end."""

    async def story() -> None:
        async with bank.opened() as participant:
            await worked(participant, "t1", PAY)
            with pytest.raises(Refused, match="has a branch at bank already"):
                await participant.begin(id_of("t1", number=1))

    run(story())


def test_only_its_own_branch_is_in_doubt_with_age_and_what_it_holds(bank: Bank) -> None:
    async def story() -> None:
        async with bank.opened() as participant, bank.opened("stock") as stock:
            await prepared(participant, "t1", PAY)
            [found] = await participant.in_doubt()

            assert found.branch == id_of("t1")
            assert found.holds == "every write to bank.db"
            assert found.age_seconds is not None
            assert 0 <= found.age_seconds < 60
            assert list(await stock.in_doubt()) == []

    run(story())


def test_a_slow_statement_holds_up_nobody_else_and_an_abort_breaks_it_off(bank: Bank) -> None:
    async def story() -> None:
        async with bank.opened() as participant, bank.opened() as elsewhere:
            branch = await worked(participant, "t1", PAY)
            endless = asyncio.create_task(branch.execute(FOR_EVER))
            for _ in range(100):
                await asyncio.sleep(0)  # The event loop goes on.

            assert list(await elsewhere.in_doubt()) == []
            assert not endless.done()

            endless.cancel()
            await branch.abort()
            await committed(elsewhere, "t2", PAY)

    run(story())

    assert bank.sql("SELECT n FROM account") == [(70,)]


def test_a_wait_that_is_cancelled_leaves_the_file_to_others(bank: Bank) -> None:
    async def story() -> None:
        async with bank.opened() as participant:
            for delay in range(20):
                begun = asyncio.create_task(participant.begin(id_of(f"t{delay}")))
                for _ in range(delay):
                    await asyncio.sleep(0)
                begun.cancel()
                try:
                    await (await begun).abort()
                except asyncio.CancelledError:
                    continue
            await committed(participant, "last", PAY)

    run(story())

    assert bank.sql("SELECT n FROM account") == [(70,)]


def test_a_vote_that_nobody_waits_for_is_found_and_finished(bank: Bank) -> None:
    async def story() -> None:
        async with bank.opened() as participant:
            branch = await worked(participant, "t1", PAY)
            vote = asyncio.create_task(branch.prepare())
            await asyncio.sleep(0)
            vote.cancel()
            await asyncio.wait({vote})

            assert await participant.finish(branch.id, Decision.ABORT) is Decision.ABORT

            await committed(participant, "t2", PAY)

    run(story())

    assert bank.sql("SELECT n FROM account") == [(70,)]


def test_a_branch_that_was_given_up_does_not_vote_yes_when_it_is_late(bank: Bank) -> None:
    async def story() -> None:
        async with bank.opened() as participant:
            assert await participant.finish(id_of("t1"), Decision.ABORT) is Decision.ABORT

            branch = await worked(participant, "t1", PAY)
            with pytest.raises(Conflict, match="came too late"):
                await branch.prepare()

            assert list(await participant.in_doubt()) == []

    run(story())


def test_a_branch_at_work_is_not_finished_and_one_in_doubt_not_settled(bank: Bank) -> None:
    async def story() -> None:
        async with bank.opened() as participant:
            branch = await worked(participant, "t1", PAY)
            with pytest.raises(Unavailable, match="still at work"):
                await participant.finish(branch.id, Decision.ABORT)
            await branch.prepare()
            with pytest.raises(Unavailable, match="is in doubt"):
                await participant.settle(branch.id)

    run(story())


def test_a_statement_that_aborts_its_transaction_aborts_the_branch(tmp_path: Path) -> None:
    """What came after it would otherwise be committed at once, by itself."""
    bank = Bank(tmp_path / "bank.db", "CREATE TABLE t (id INTEGER PRIMARY KEY ON CONFLICT ROLLBACK)")

    async def story() -> None:
        async with bank.opened() as participant:
            branch = await worked(participant, "t1", "INSERT INTO t VALUES (1)")
            with pytest.raises(Refused):
                await branch.execute("INSERT INTO t VALUES (1)")
            with pytest.raises(TransactionAborted):
                await branch.execute("INSERT INTO t VALUES (2)")
            with pytest.raises(Refused):
                await branch.prepare()
            await committed(participant, "t2", "INSERT INTO t VALUES (3)")

    run(story())

    assert bank.sql("SELECT * FROM t") == [(3,)]


def replace(path: Path) -> None:
    """Move a database elsewhere."""
    for old in path.parent.glob(f"{path.name}*"):
        old.rename(path.parent / f"old-{old.name}")


def test_a_file_that_is_replaced_takes_its_branch_with_it(bank: Bank) -> None:
    async def story() -> None:
        async with bank.opened() as participant:
            branch = await worked(participant, "t1", PAY)
            replace(bank.path)
            bank.sql(*SCHEMA)
            with pytest.raises(Refused, match="its connection has failed"):
                await branch.prepare()
            await committed(participant, "t2", PAY)

    run(story())

    assert bank.sql("SELECT n FROM account") == [(70,)]


def test_a_file_out_of_reach_is_told_and_found_again(tmp_path: Path) -> None:
    async def story() -> None:
        folder = tmp_path / "later"
        participant = finality.sqlite(folder / "bank.db", name="bank", lock_timeout=timedelta(seconds=1))
        with pytest.raises(Unavailable, match="cannot open"):
            await participant.open(SystemEnvironment())
        folder.mkdir()
        Bank(folder / "bank.db", *SCHEMA)
        await committed(participant, "t1", PAY)
        await participant.close()
        with pytest.raises(Unavailable, match="it is closed"):
            await participant.begin(id_of("t2"))

    run(story())


def test_a_forked_child_keeps_out(bank: Bank) -> None:
    async def story() -> None:
        async with bank.opened() as participant:
            participant.keep_out()  # As it is called in the child.
            with pytest.raises(Unavailable, match="before this process was forked"):
                await participant.begin(id_of("t1"))

    run(story())


def test_health_names_what_no_branch_may_write(tmp_path: Path) -> None:
    bank = Bank(tmp_path / "bank.db", *SCHEMA, "CREATE TABLE log (t)")

    async def story() -> None:
        async with bank.opened() as participant:
            findings = {check: (is_good, found) for check, is_good, found in await participant.health()}

            assert findings["durability"][0]
            assert findings["tables"] == (
                True,
                "2 tables, 1 of which no branch may write; table log has no primary key, so SQLite cannot "
                "record its changes",
            )

    run(story())


def test_a_read_only_branch_writes_nothing(bank: Bank) -> None:
    async def story() -> None:
        async with bank.opened() as participant:
            for n, statement in enumerate(
                ["SELECT * FROM account", "UPDATE account SET n = n", "PRAGMA table_info(account)"]
            ):
                branch = await worked(participant, f"t{n}", statement)

                assert await branch.prepare() is Vote.READ_ONLY
            await (await worked(participant, "t9", "SELECT 1")).commit()

    run(story())

    assert bank.sql("SELECT * FROM finality_branch") == []


OUTBOX = "SELECT aggregateid, payload FROM finality_outbox ORDER BY position"
ELSEWHERE = (
    "INSERT INTO finality_outbox (aggregatetype, aggregateid, type, payload) "
    "VALUES ('topic', 'between', 'Sold', x'')"
)


@pytest.mark.parametrize("decision", Decision)
def test_what_a_branch_publishes_comes_with_its_decision(bank: Bank, decision: Decision) -> None:
    """Another process finishes it, and others have published in the file meanwhile."""

    async def story() -> None:
        async with bank.opened() as participant:
            branch = await worked(participant, "t1", PAY)
            joined = finality.join_async(branch)
            await joined.publish("topic", {"n": 1}, key="first")
            with contextlib.suppress(Refused):
                async with branch.savepoint():
                    await joined.publish("topic", {}, key="taken back")
                    raise Refused("not that")
            packed = {"datacontenttype": "application/msgpack"}
            await joined.publish("topic", {"n": 2}, key="second", headers=packed)
            await joined.publish("topic", {}, key="later", delay=timedelta(days=1))
            assert await branch.prepare() is Vote.YES
        assert bank.sql(OUTBOX) == []
        bank.sql(ELSEWHERE)
        async with bank.opened() as participant:
            assert await participant.finish(id_of("t1"), decision) is decision

    run(story())

    published = [("first", b'{"n":1}'), ("second", b"\x81\xa1n\x02")]
    is_committed = decision is Decision.COMMIT
    assert bank.sql(OUTBOX) == [("between", b""), *(published if is_committed else [])]
    assert bank.sql("SELECT key FROM finality_delayed") == ([("later",)] if is_committed else [])
    assert bank.sql("SELECT n FROM account") == [(70,) if is_committed else (100,)]


@pytest.mark.parametrize("phases", [1, 2])
def test_a_branch_may_do_nothing_but_publish(bank: Bank, phases: int) -> None:
    async def story() -> None:
        async with bank.opened() as participant:
            branch = await participant.begin(id_of("t1"))
            joined = finality.join_async(branch)
            await joined.publish("topic", {}, key="alone")
            if phases == 1:
                await branch.commit()
            else:
                assert await branch.prepare() is Vote.YES
                await participant.finish(branch.id, Decision.COMMIT)
            with pytest.raises(StatementRefused, match="has ended"):
                await joined.publish("topic", {}, key="too late")

    run(story())

    assert [key for key, _ in bank.sql(OUTBOX)] == ["alone"]


@pytest.mark.parametrize("decision", list(Decision))
def test_who_asks_whether_it_is_the_first_never_hears_yes_beside_a_branch_in_doubt(
    bank: Bank, decision: Decision
) -> None:
    """Two of them would do the same request twice. The witness of a saga's step may be left meanwhile."""
    ask = (
        "INSERT INTO finality_witness VALUES ('request', 'place', 'joined', 'null', 0) ON CONFLICT DO NOTHING"
    )
    step = "INSERT INTO finality_witness VALUES ('saga', 'step', 'action', 'null', 0)"

    async def story() -> None:
        async with bank.opened() as participant:
            branch = await participant.begin(id_of("t1"))
            joined = finality.join_async(branch)
            with contextlib.suppress(Refused):
                async with branch.savepoint():
                    assert await joined.is_first("request", "place")
                    raise Refused("not that")

            assert await joined.is_first("request", "place")
            assert not await joined.is_first("request", "place")
            assert await branch.prepare() is Vote.YES

            with pytest.raises(sqlite3.IntegrityError, match="in doubt holds this file"):
                bank.sql(ask)
            bank.sql(step)
            await participant.finish(branch.id, decision)

            second = await participant.begin(id_of("t2"))
            is_first = await finality.join_async(second).is_first("request", "place")

            assert is_first is (decision is Decision.ABORT)
            assert await second.prepare() is (Vote.YES if is_first else Vote.READ_ONLY)

    run(story())
