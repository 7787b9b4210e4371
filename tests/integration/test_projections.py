"""A projection keeps tables up to what has happened: each event once, and in order."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import finality
from finality.core.errors import DefinitionError
from finality.core.projection import Paused, Resumed, projection_stream
from finality.patterns.projection import ProjectionSyncTx
from tests.core.accounts import Account, Deposited, Withdrawn
from tests.core.people import Customer, Joined
from tests.integration.kit import eventually, url_of
from tests.integration.test_aggregates import play, url  # noqa: F401 - the fixture of every kind of home

CREATE = (
    "CREATE TABLE {balances} (account VARCHAR(20) PRIMARY KEY, amount BIGINT, events BIGINT)",
    "CREATE INDEX {balances}_by_amount ON {balances} (amount)",
)
UPSERT = (
    "INSERT INTO {balances} (account, amount, events) VALUES ('%s', %d, 1) ON CONFLICT (account) DO UPDATE "
    "SET amount = {balances}.amount + excluded.amount, events = {balances}.events + 1"
)


def change(moved: Deposited | Withdrawn) -> int:
    return moved.amount if isinstance(moved, Deposited) else -moved.amount


def plain(tx: finality.SyncTx, moved: Deposited | Withdrawn, where: finality.Happened) -> None:
    tx.execute(UPSERT % (where.id, change(moved)))


async def awaited(tx: finality.Tx, moved: Deposited | Withdrawn, where: finality.Happened) -> None:
    await tx.execute(UPSERT % (where.id, change(moved)))


def listed(tx: finality.SyncTx, moved: list[Deposited | Withdrawn], where: list[finality.Happened]) -> None:
    for each, there in zip(moved, where, strict=True):
        tx.execute(UPSERT % (there.id, change(each)))


def projection(function: Any = plain, **options: Any) -> finality.Projection[..., Any]:
    return finality.project(into="balances", create=CREATE, **options)(function)


async def deposit(node: finality.AsyncNode, *amounts: int, id: str = "a") -> None:
    await node.append(await node.load(Account, id), *(Deposited(amount) for amount in amounts))


async def rows(node: finality.AsyncNode, at: str | None = None) -> list[tuple[Any, ...]]:
    """Return the table, once it holds all that is committed."""
    await node.wait_for(await node.token(), "balances")
    return await node.query("SELECT account, amount, events FROM balances ORDER BY account", at=at)


@pytest.mark.parametrize("function", [plain, awaited, listed])
def test_a_table_holds_what_was_before_it_and_what_comes_then(url: str, function: Any) -> None:  # noqa: F811
    async def story(node: finality.AsyncNode) -> None:
        await deposit(node, 10, 20)
        node.project(into="balances", create=CREATE)(function)

        assert await rows(node) == [("a", 30, 2)]

        await deposit(node, 5, id="b")
        await node.decide(Account, "a", lambda account: account.withdraw(7))

        assert await rows(node) == [("a", 23, 3), ("b", 5, 1)]
        [state] = await node.projections()
        assert (state.name, state.generation, state.events, state.events_behind) == ("balances", 1, 4, 0)

    play(url, story)


def test_a_projection_in_another_store_has_its_cursor_there(tmp_path: Path) -> None:
    async def story(node: finality.AsyncNode) -> None:
        await deposit(node, 1, 2, 3)

        assert await rows(node, "bank") == [("a", 6, 3)]
        assert not await (await node.opened()).home.progress("projection:balances")
        [state] = await node.projections()
        assert (state.store, state.events) == ("bank", 3)

    stores = {"bank": url_of(tmp_path, "bank")}
    play(url_of(tmp_path), story, stores=stores, projections=[projection(at="bank")])


@pytest.mark.parametrize("is_batch", [False, True])
def test_an_event_that_fails_stops_its_projection_and_no_other(tmp_path: Path, is_batch: bool) -> None:
    def fail_at_13(moved: Deposited | Withdrawn) -> None:
        if moved.amount == 13 and not is_fixed:
            raise ValueError("unlucky")

    def single(tx: finality.SyncTx, moved: Deposited | Withdrawn, where: finality.Happened) -> None:
        fail_at_13(moved)
        plain(tx, moved, where)

    def batch(
        tx: finality.SyncTx, moved: list[Deposited | Withdrawn], where: list[finality.Happened]
    ) -> None:
        for each in moved:
            fail_at_13(each)
        listed(tx, moved, where)

    @finality.project(into="log", create="CREATE TABLE {log} (amount INTEGER)")
    def log(tx: finality.SyncTx, moved: Deposited) -> None:
        tx.execute("INSERT INTO {log} VALUES (?)", moved.amount)

    is_fixed, broken = False, projection(batch if is_batch else single)

    async def stuck(node: finality.AsyncNode) -> None:
        await deposit(node, *range(10), 13, 14)
        await node.wait_for(await node.token(), "log")

        async def is_stuck() -> bool:
            return any("ValueError: unlucky" in each.because for each in await node.projections())

        await eventually(is_stuck, "a projection is stuck")
        with pytest.raises(finality.DeadlinePassed, match="stuck at event 11 of Account/a, a Deposited"):
            await node.wait_for(await node.token(), "balances", timeout=timedelta(seconds=0))
        assert await node.query("SELECT amount, events FROM balances") == [(45, 10)]
        assert await node.query("SELECT count(*) FROM log") == [(12,)]
        assert "projection:balances" in str((await node.health()).readers)

    async def goes_on(node: finality.AsyncNode) -> None:
        assert await rows(node) == [("a", 72, 12)]
        assert [each.because for each in await node.projections()] == ["", ""]

    play(url_of(tmp_path), stuck, projections=[broken, log])
    is_fixed = True
    play(url_of(tmp_path), goes_on, projections=[broken, log])


def test_a_rebuild_serves_the_old_table_until_it_switches(url: str) -> None:  # noqa: F811
    factor, go_on = 1, threading.Event()

    def scaled(tx: finality.SyncTx, moved: Deposited, where: finality.Happened) -> None:
        if factor == 10 and not go_on.is_set():
            raise ValueError("not yet")
        plain(tx, Deposited(moved.amount * factor), where)

    async def story(node: finality.AsyncNode) -> None:
        nonlocal factor
        await deposit(node, 1, 2)
        assert await rows(node) == [("a", 3, 2)]

        factor = 10
        assert await node.rebuild("balances") == 2

        async def is_building() -> bool:
            [state] = await node.projections()
            return state.rebuild is not None and "not yet" in state.rebuild.because

        await eventually(is_building, "the rebuild has begun")
        assert await node.query("SELECT amount FROM balances") == [(3,)]

        go_on.set()

        async def has_switched() -> bool:
            [state] = await node.projections()
            return state.generation == 2 and state.rebuild is None

        await eventually(has_switched, "the new table serves")
        assert await node.query("SELECT amount FROM balances") == [(30,)]
        await deposit(node, 3)
        assert await rows(node) == [("a", 60, 3)]

        assert await node.rebuild("balances") == 3  # The index of the generation before is in nobody's way.
        await eventually(lambda: generation(node, 3), "the third one serves")
        assert await rows(node) == [("a", 60, 3)]
        with pytest.raises(Exception, match="balances_g"):
            await node.query("SELECT * FROM balances_g2")

    play(url, story, projections=[projection(scaled)])


def test_a_projection_that_is_paused_stands_still_until_it_is_resumed(url: str) -> None:  # noqa: F811
    async def story(node: finality.AsyncNode) -> None:
        await deposit(node, 1)
        assert await rows(node) == [("a", 1, 1)]

        # Of two at once one pauses it, and only that one's word is in the journal.
        asked = [node.pause("balances", because="the report runs", by="ada") for _ in range(2)]
        assert sorted(await asyncio.gather(*asked)) == [False, True]
        await deposit(node, 2)
        with pytest.raises(finality.DeadlinePassed, match="ada has paused it, saying 'the report runs'"):
            await node.wait_for(await node.token(), "balances", timeout=timedelta(seconds=0.1))
        with pytest.raises(finality.Refused, match="`finality projection resume balances` first"):
            await node.rebuild("balances")
        [state] = await node.projections()
        assert state.pause is not None
        assert (state.pause.because, state.pause.by, state.events_behind) == ("the report runs", "ada", 1)
        assert await node.query("SELECT amount FROM balances") == [(1,)]

        assert await node.resume("balances", because="it is done", by="bob")
        assert not await node.resume("balances", because="again")
        assert await rows(node) == [("a", 3, 2)]
        said = [each.event for each in await (await node.opened()).home.read(projection_stream("balances"))]
        assert said == [Paused("the report runs", "ada"), Resumed("it is done", "bob")]

    play(url, story, projections=[projection()])


def test_a_transactions_own_token_is_for_what_it_appends(url: str) -> None:  # noqa: F811
    async def story(node: finality.AsyncNode) -> None:
        await deposit(node, 1)
        before = await node.token()
        await node.wait_for(before, "balances")
        await node.pause("balances", because="to see what waits")
        async with node.transaction() as tx:
            await tx.append(await tx.load(Account, "a"), Deposited(2))
            token = await tx.token()

        await node.wait_for(before, "balances")
        with pytest.raises(finality.DeadlinePassed):
            await node.wait_for(token, "balances", timeout=timedelta(seconds=0.1))
        await node.resume("balances", because="seen")
        await node.wait_for(token, "balances")
        assert await node.query("SELECT amount FROM balances") == [(3,)]

    play(url, story, projections=[projection()])


def test_a_rebuild_is_paused_with_what_serves_and_switches_only_when_it_is_resumed(tmp_path: Path) -> None:
    go_on = threading.Event()

    def slow(tx: finality.SyncTx, moved: Deposited, where: finality.Happened) -> None:
        if not go_on.is_set() and moved.amount == 2:
            raise ValueError("not yet")
        plain(tx, moved, where)

    async def story(node: finality.AsyncNode) -> None:
        await deposit(node, 1)
        await rows(node)
        await deposit(node, 2)
        await node.rebuild("balances")

        async def is_building() -> bool:
            [state] = await node.projections()
            return state.rebuild is not None and "not yet" in state.rebuild.because

        await eventually(is_building, "the rebuild has begun")
        assert await node.pause("balances", because="wait")
        go_on.set()
        with pytest.raises(finality.DeadlinePassed, match="has paused it"):
            await node.wait_for(await node.token(), "balances", timeout=timedelta(seconds=0.2))
        [state] = await node.projections()
        assert (state.generation, state.rebuild is not None) == (1, True)

        assert await node.resume("balances", because="go")
        await eventually(lambda: generation(node, 2), "the new table serves")
        assert await rows(node) == [("a", 3, 2)]

    play(url_of(tmp_path), story, projections=[projection(slow)])


async def generation(node: finality.AsyncNode, number: int) -> bool:
    [state] = await node.projections()
    return state.generation == number


async def refused(function: Any, home: str) -> str:
    """Return why a projection with that function is stuck."""
    async with finality.open_async(home, projections=[projection(function)]) as node:
        await deposit(node, 1)

        async def because() -> str:
            states = await node.projections()
            return states[0].because if states else ""

        found: str = await eventually(because, "it is stuck")
        assert await node.query("SELECT id FROM finality_outbox") == []
        return found


def test_a_projection_can_neither_publish_nor_start_anything(tmp_path: Path) -> None:
    """Or its rebuild would send every mail again."""
    nodes: list[finality.AsyncNode] = []

    def mails(tx: finality.SyncTx, moved: Deposited) -> None:
        tx.publish("mail", moved)

    async def mails_later(tx: finality.Tx, moved: Deposited) -> None:
        await tx.publish("mail", moved)

    async def runs(tx: finality.Tx, moved: Deposited) -> None:
        async with nodes[0].transaction() as other:
            await other.publish("mail", moved)

    async def main() -> None:
        async with finality.open_async(url_of(tmp_path, "other")) as node:
            nodes.append(node)
            for place, function in enumerate((mails, mails_later, runs)):
                because = await refused(function, url_of(tmp_path, f"home{place}"))
                assert "again whenever it is rebuilt" in because
                assert "do the rest in a reaction" in because

    asyncio.run(main())


def test_the_planted_rebuild_that_sends_its_mail_again_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What refuses to publish is taken out: each rebuild sends a mail again, and the outbox shows it."""
    monkeypatch.setattr(ProjectionSyncTx, "publish", finality.SyncTx.publish)

    def mails(tx: finality.SyncTx, moved: Deposited, where: finality.Happened) -> None:
        tx.publish("mail", moved, key=f"{where.id}@{where.version}")

    async def story(node: finality.AsyncNode) -> None:
        await deposit(node, 1)
        await node.wait_for(await node.token(), "balances")
        await node.rebuild("balances")
        await eventually(lambda: generation(node, 2), "it is rebuilt")

        mails_sent = await node.query("SELECT aggregateid, count(*) FROM finality_outbox GROUP BY 1")

        assert mails_sent == [("a@1", 2)]

    play(url_of(tmp_path), story, projections=[projection(mails)])


def test_a_table_that_is_named_without_braces_is_refused(tmp_path: Path) -> None:
    def bare(tx: finality.SyncTx, moved: Deposited) -> None:
        tx.execute("DELETE FROM balances")

    assert "write {balances}, in braces" in asyncio.run(refused(bare, url_of(tmp_path)))


def test_a_projection_hears_that_somebody_was_forgotten(tmp_path: Path) -> None:
    @finality.project(into="people", create="CREATE TABLE {people} (id TEXT PRIMARY KEY, name TEXT)")
    def people(tx: finality.SyncTx, event: Joined | finality.Forgotten) -> None:
        match event:
            case Joined(name):
                tx.execute("INSERT INTO {people} VALUES (?, ?)", name.of, name.reveal_or("erased"))
            case finality.Forgotten(subject):
                tx.execute("DELETE FROM {people} WHERE id = ?", subject)

    async def story(node: finality.AsyncNode) -> None:
        for id, name in (("c7", "Ada"), ("c8", "Bob")):
            await node.append(await node.load(Customer, id), Joined(finality.Personal(name, of=id)))
        await node.wait_for(await node.token(), "people")
        assert await node.query("SELECT name FROM people ORDER BY id") == [("Ada",), ("Bob",)]

        await node.forget("c7")
        await node.wait_for(await node.token(), "people")

        assert await node.query("SELECT id, name FROM people") == [("c8", "Bob")]

    play(url_of(tmp_path), story, projections=[people], secret_key=finality.new_secret_key())


def test_a_fold_catches_up_and_follows(url: str) -> None:  # noqa: F811
    def total(sums: dict[str, int], moved: Deposited | Withdrawn) -> dict[str, int]:
        sums["all"] = sums.get("all", 0) + change(moved)
        return sums

    async def story(node: finality.AsyncNode) -> None:
        await deposit(node, 1, 2)
        sums: dict[str, int] = {}
        fold = node.fold(sums, total)

        assert await fold.catch_up() == {"all": 3}

        states = fold.follow()
        assert await anext(states) == {"all": 3}
        await deposit(node, 4, id="b")
        assert await anext(states) == {"all": 7}
        assert fold.events == 3
        await states.aclose()

    play(url, story)


# fmt: off
WRONG: list[tuple[Any, dict[str, Any], str]] = [
    (lambda tx, moved: None, {},                            "does not say what 'moved' is"),
    (plain,                  {"into": "Balances"},          "cannot write into Balances"),
    (plain,                  {"into": ("balances", "b")},   "nothing makes table 'b'"),
]
# fmt: on


@pytest.mark.parametrize("function, options, said", WRONG)
def test_a_declaration_that_cannot_keep_its_promise_is_refused(
    function: Any, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(DefinitionError, match=said):
        finality.project(**{"into": "balances", "create": CREATE, **options})(function)
