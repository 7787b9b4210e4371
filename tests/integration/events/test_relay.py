"""The relay: every event once at least, in the order of its key, whatever the broker and the others do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

import finality
from finality.adapters.memory.broker import MemoryBroker
from finality.adapters.postgres.store import PostgresStore
from finality.adapters.sqlite.store import SqliteStore
from finality.adapters.system.environment import SystemEnvironment
from finality.cli.command_line import run_command_line
from finality.core.envelope import Envelope
from finality.core.errors import FinalityError, Unavailable
from finality.core.ids import Cursor
from finality.core.outbox import ResendAsked, outbox_stream
from finality.node import outbox as outbox_of_nodes
from finality.node.brokers import broker_at
from finality.node.outbox import Outbox
from finality.ports.events import SHARES, OutboxEvent, OutboxPage
from finality.runtime import reader, timers
from finality.testing import PostgresServer, nats
from finality.testing.nats_server import NatsCluster
from tests.integration.events.kit import (
    TOPIC,
    Placed,
    arrived,
    ids,
    own_broker,
    place,
    relaying,
    stored,
    with_one_too_large,
)
from tests.integration.kit import MovedClock, effects, eventually, table, url_of


class Shaky(MemoryBroker):
    """A broker that is out of reach while it is told to be, in the middle of a batch."""

    def __init__(self) -> None:
        super().__init__(own_broker().topics)
        self.is_down = False
        self.batches: list[int] = []

    async def publish(self, events: Sequence[Envelope]) -> list[FinalityError | None]:
        self.batches.append(len(events))
        if not self.is_down:
            return await super().publish(events)
        half = len(events) // 2
        lost = Unavailable("broker shaky is out of reach")
        return [*await super().publish(events[:half]), *[lost] * (len(events) - half)]


def by_key(events: Sequence[Envelope]) -> dict[str, list[int]]:
    """Return the numbers of each key's events, in the order in which the broker has them."""
    found: dict[str, list[int]] = {}
    for event in events:
        found.setdefault(event.key, []).append(int(event.data.partition(b'"number":')[2].rstrip(b"}")))
    return found


def test_two_nodes_share_the_work_and_keep_the_order(tmp_path: Path) -> None:
    """The second one gets its part from the first, and gives it back when it leaves."""

    async def story() -> None:
        broker, lease = own_broker(), timedelta(seconds=1)
        async with relaying(url_of(tmp_path), broker, lease=lease) as (first, _):
            await place(first, *map(str, range(50)), key="a")
            async with relaying(url_of(tmp_path), broker, lease=lease) as (second, _):

                async def is_fair() -> bool:
                    holders = [share.node for share in await (await first.outbox()).shares()]
                    return len(set(holders)) == 2 and holders.count(holders[0]) == SHARES // 2

                await eventually(is_fair)
                for key in "abcdefgh":
                    await place(second, *map(str, range(50)), key=key)
                events = await arrived(broker, 450)
            await place(first, *map(str, range(50)), key="h")
            events = await arrived(broker, 500)

            assert by_key(events).pop("a") == [*range(50), *range(50)]
            assert all(numbers[:50] == list(range(50)) for numbers in by_key(events).values())
            assert len({event.id for event in events}) == len(events) == 500

    asyncio.run(story())


@pytest.mark.slow
def test_a_broker_that_is_away_for_a_while_gets_everything_in_order(tmp_path: Path) -> None:
    async def story() -> None:
        broker = Shaky()
        async with relaying(url_of(tmp_path), broker) as (node, _):
            broker.is_down = True
            for key in "abc":
                await place(node, *map(str, range(100)), key=key)
            trouble = node._insides.relays[0].reader.trouble
            await eventually(lambda: trouble)
            assert "out of reach" in next(iter(trouble.values()))
            await eventually(lambda: len(broker.batches) > 4)
            assert all(share.waiting for share in await (await node.outbox()).shares() if share.oldest_at)
            broker.is_down = False

            assert by_key(await arrived(broker, 300)) == {key: list(range(100)) for key in "abc"}
            await eventually(lambda: not trouble)

    asyncio.run(story())


def test_what_the_broker_rejects_is_parked_and_its_key_behind_it(tmp_path: Path) -> None:
    """Other keys flow. Given up, it lets those behind it go on, in order."""

    async def story() -> None:
        async with relaying(url_of(tmp_path)) as (node, broker):
            await with_one_too_large(node)
            outbox = await node.outbox()

            async def all_parked() -> bool:
                return len(await outbox.parked()) == 4

            await eventually(all_parked)
            parked = await outbox.parked()
            assert sorted(ids(await arrived(broker, 2))) == ["1", "other"]
            assert "rejected" in parked[0].because
            assert [each.because for each in parked[1:]] == ["", "", ""]

            assert await outbox.retry(parked[0].place, because="it was mended")

            async def is_tried() -> bool:
                [tried, *_] = await outbox.parked()
                return tried.attempts == 2

            await eventually(is_tried)
            assert await outbox.discard(parked[0].place, because="nobody wants it")
            assert not await outbox.discard(parked[0].place, because="nobody wants it")
            assert [each for each in ids(await arrived(broker, 5)) if each != "other"] == ["1", "3", "4", "5"]
            await place(node, "6", key="k")
            assert ids(await arrived(broker, 6))[-1] == "6"
            assert await outbox.parked() == []

    asyncio.run(story())


def test_what_is_parked_is_known_to_whoever_relays_next(tmp_path: Path) -> None:
    async def story() -> None:
        broker = own_broker()
        async with relaying(url_of(tmp_path), broker) as (node, _):
            await with_one_too_large(node)
            await arrived(broker, 2)
        async with relaying(url_of(tmp_path), broker) as (node, _):
            await place(node, "6", key="k")
            await place(node, "7")

            assert "7" in ids(await arrived(broker, 3))
            assert "6" not in ids(await stored(broker))

    asyncio.run(story())


def test_a_foreign_row_that_is_no_event_is_parked(tmp_path: Path) -> None:
    """Nobody but a foreign writer could put it there: a topic without a name, and one without a type."""
    import sqlite3

    async def story() -> None:
        async with finality.open_async(url_of(tmp_path)):
            pass
        with sqlite3.connect(tmp_path / "home.db") as connection:
            insert = (
                "INSERT INTO finality_outbox (aggregatetype, aggregateid, type, payload, headers) "
                "VALUES (?, ?, ?, '{}', ?)"
            )
            connection.execute(insert, ("no topic", "a", "Placed", "{}"))
            connection.execute(insert, (TOPIC, "b", "", "{}"))
            connection.execute(insert, (TOPIC, "c", "Placed", "[1]"))
            connection.execute(insert, (TOPIC, "d", "Placed", "{}"))
        connection.close()
        async with relaying(url_of(tmp_path)) as (node, broker):
            assert [event.key for event in await arrived(broker, 1)] == ["d"]
            outbox = await node.outbox()
            await eventually(outbox.parked)
            causes = {each.key: each.because for each in await outbox.parked()}
            assert causes.keys() == {"a", "b", "c"}
            assert "no name for a topic" in causes["a"]
            assert "type" in causes["b"]
            assert "JSON" in causes["c"]

    asyncio.run(story())


async def nothing_parked(outbox: Outbox) -> bool:
    return not await outbox.parked()


def test_of_chosen_topics_a_bounded_number_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_of_nodes, "RESEND_EVENTS_MAX", 2)

    async def story() -> None:
        async with relaying(url_of(tmp_path)) as (node, _):
            await place(node, "a", "b", "c")
            outbox = await node.outbox()

            with pytest.raises(finality.LimitExceeded, match="more than 2 events of these topics"):
                await outbox.resend(1, topics=[TOPIC], because="it was lost")
            assert await outbox.parked() == []

    asyncio.run(story())


def test_what_is_said_about_another_stores_outbox_is_in_the_journal(tmp_path: Path) -> None:
    async def story() -> None:
        async with finality.open_async(url_of(tmp_path), stores={"bank": url_of(tmp_path, "bank")}) as node:
            await place(node, "a", at="bank")
            bank = await node.outbox(at="bank")
            assert await bank.resend(1, because="it was lost", by="ada") == 1
            assert await bank.resend(1, topics=["nobody's"], because="nothing was") == 0
            [said] = await (await node.opened()).home.read(outbox_stream("bank"))
            assert isinstance(said.event, ResendAsked)
            assert (said.event.because, said.event.by) == ("it was lost", "ada")

    asyncio.run(story())


def test_what_was_relayed_is_sent_again_until_it_is_pruned(tmp_path: Path) -> None:
    async def story() -> None:
        clock = MovedClock()
        async with relaying(url_of(tmp_path), environment=clock) as (node, broker):
            outbox = await node.outbox()
            await place(node, "old")
            await arrived(broker, 1)
            clock.move(hours=1)
            between = datetime.fromtimestamp(clock.now(), UTC)
            await place(node, "new")
            await arrived(broker, 2)
            newest, oldest = await outbox.events()
            assert (newest.key, oldest.key) == ("new", "old")
            assert await outbox.event(newest.id) == await outbox.event(str(newest.position)) == newest

            published = node._insides.relays[0]
            assert await outbox.resend(between, because="it was lost") == 1
            await eventually(lambda: published.published == 3)
            assert await outbox.resend(oldest.position, because="it was lost") == 2
            await eventually(lambda: published.published == 5)
            assert len(await stored(broker)) == 2, "the broker knows repetitions by their ids"
            await node.run(lambda tx: tx.publish("others", Placed("other"), key="other"))
            await eventually(lambda: published.published == 6)
            assert await outbox.resend(oldest.position, topics=["others"], because="it was lost") == 1
            await eventually(lambda: published.published == 7)
            await eventually(lambda: nothing_parked(outbox))
            assert len(await stored(broker, "others")) == 1, "it was sent again under its own id"

            clock.move(days=4)
            await place(node, "kick")

            async def is_pruned() -> bool:
                return [event.key for event in await outbox.events()] == ["kick"]

            await eventually(is_pruned)
            with pytest.raises(finality.NotFound, match="pruned"):
                await outbox.event(newest.id)

    asyncio.run(story())


def test_an_event_is_relayed_without_waiting_for_a_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store's own writer says that it is committed."""
    monkeypatch.setattr(timers, "LOOK_SECONDS", 1_000.0)
    monkeypatch.setattr(SqliteStore, "on_news", lambda store, told: None)
    monkeypatch.setattr(reader, "IDLE_SECONDS", 1_000.0)

    async def story() -> None:
        async with relaying(url_of(tmp_path)) as (node, broker):
            await eventually(lambda: len(node._insides.relays[0].reader.shares.held) == SHARES)
            for number in range(3):
                await place(node, str(number))
                assert len(await arrived(broker, number + 1)) == number + 1

    asyncio.run(story())


# ── Late committers ─────────────────────────────────────────────────────────────────────────


async def relayed_around_a_late_commit(url: str) -> list[str]:
    """Return what is relayed when the event with the lowest sequence number is committed in between."""
    async with relaying(url) as (node, broker):
        async with await psycopg.AsyncConnection.connect(url) as late:
            await finality.join_async(late).publish(TOPIC, Placed("late"), key="k")
            await place(node, "early", key="k")
            await arrived(broker, 1)
        await place(node, "end", key="k")

        async def has_ended() -> list[str]:
            found = ids(await stored(broker))
            return found if "end" in found else []

        found: list[str] = await eventually(has_ended)
        return found


@pytest.mark.slow
def test_a_late_commit_with_a_lower_sequence_number_is_not_skipped(
    finality_postgres: PostgresServer,
) -> None:
    relayed = asyncio.run(relayed_around_a_late_commit(finality_postgres.database()))

    assert relayed == ["early", "late", "end"]


@pytest.mark.slow
def test_a_cursor_by_sequence_number_is_caught(
    finality_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted mistake: what is behind the last number is new."""

    async def outbox(self: PostgresStore, share: int, *, after: Cursor, limit: int = 500) -> OutboxPage:
        sql = (
            "SELECT position, id, aggregatetype, aggregateid, type, payload, headers, at "
            "FROM finality_outbox WHERE share = $1 AND position > $2 ORDER BY position LIMIT $3"
        )
        rows = [OutboxEvent(*row) for row in await self._rows(sql, share, int(after or 0), limit)]
        return OutboxPage(rows, Cursor(str(rows[-1].position)) if rows else after)

    monkeypatch.setattr(PostgresStore, "outbox", outbox)

    assert asyncio.run(relayed_around_a_late_commit(finality_postgres.database())) == ["early", "end"]


# ── A broker that forgets ───────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_what_a_broker_has_lost_is_sent_again_and_takes_effect_once(tmp_path: Path) -> None:
    """Streams in memory are empty after a restart, whatever was acknowledged."""

    @finality.react(TOPIC, by="stock")
    def note(tx: finality.SyncTx, placed: Placed) -> None:
        tx.execute("INSERT INTO effect VALUES (?)", placed.order)

    async def noted(node: finality.AsyncNode, count: int) -> list[str]:
        async def enough() -> bool:
            return len(await effects(node)) >= count and not any((await node.health()).lags.values())

        await eventually(enough)
        return await effects(node)

    async def story(server: NatsCluster) -> None:
        url, orders = url_of(tmp_path), [str(number) for number in range(8)]
        async with finality.open_async(url, broker=server.url, reactions=[note]) as node:
            await table(node)
            await place(node, *orders[:4], key="k")
            assert await noted(node, 4) == orders[:4]
        async with finality.open_async(url, broker=server.url) as node:
            await place(node, *orders[4:], key="k")
            relay = node._insides.relays[0]
            await eventually(lambda: relay.published >= 4)
        server.kill()
        server.start()
        broker = broker_at(server.url)
        await broker.open(SystemEnvironment())
        assert await stored(broker) == []
        await broker.close()
        async with finality.open_async(url, broker=server.url, reactions=[note]) as node:
            resend = ["outbox", "resend", "--store", url, "--since", "2020-01-01", "--because", "it forgot"]
            assert await asyncio.to_thread(run_command_line, resend) == 0

            assert await noted(node, 8) == orders

    with nats(storage="memory") as server:
        asyncio.run(story(server))
