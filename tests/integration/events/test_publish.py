"""What can be said of an event when it is published arrives with it at the broker."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from opentelemetry.sdk.trace import TracerProvider

import finality
from finality.adapters.msgspec.codec import JsonCodec
from finality.core.envelope import Envelope
from finality.core.errors import DefinitionError
from finality.node.opening import adopt_outbox
from finality.ports.codec import DecodeError
from finality.testing import PostgresServer
from tests.integration.events.kit import TOPIC, Placed, arrived, own_broker, place, relaying, stored
from tests.integration.kit import MovedClock, eventually, url_of

TRACER = TracerProvider().get_tracer("test")


@dataclass(frozen=True)
class Order(finality.Saga):
    """Publishes in each kind of step."""

    @finality.step
    def reserved(self, tx: finality.SyncTx) -> None:
        tx.publish(TOPIC, Placed("plain"), key="k")

    @finality.step
    async def shipped(self, tx: finality.Tx, reserved: None) -> None:
        await tx.publish(TOPIC, Placed("async"), key="k")

    @finality.step(at="bank")
    def paid(self, tx: finality.SyncTx, shipped: None) -> None:
        tx.publish(TOPIC, Placed("elsewhere"), key="k")


def test_what_a_saga_publishes_is_of_its_conversation(tmp_path: Path) -> None:
    """Also what it publishes in another store, which has an outbox and a name of its own."""

    async def story() -> list[Envelope]:
        stores = {"bank": url_of(tmp_path, "bank")}
        async with relaying(url_of(tmp_path), stores=stores) as (node, broker):
            handle = await node.start(Order(), id="order-1")
            assert await handle.outcome() == finality.COMPLETED
            return await arrived(broker, 3)

    events = asyncio.run(story())

    assert {(event.correlation_id, event.causation_id) for event in events} == {("order-1", "order-1")}
    assert {event.type for event in events} == {"Placed"}
    sources = {event.source for event in events}
    assert len(sources) == 2
    assert all(source.startswith("finality:") for source in sources)


def test_the_span_that_publishes_is_known_wherever_the_function_runs(tmp_path: Path) -> None:
    async def story() -> tuple[str, list[Envelope]]:
        async with relaying(url_of(tmp_path)) as (node, broker):
            await place(node, "without")
            with TRACER.start_as_current_span("checkout") as span:
                await place(node, "plain")  # On the store's own thread.
                async with node.transaction() as tx:
                    await tx.publish(
                        TOPIC, Placed("block"), headers={"subject": "o-1", "correlationid": "run-1"}
                    )
            context = span.get_span_context()
            return f"00-{context.trace_id:032x}-{context.span_id:016x}-", await arrived(broker, 3)

    span, events = asyncio.run(story())
    by_order = {event.data.partition(b'":"')[2].partition(b'"')[0]: event for event in events}

    assert str(by_order[b"plain"].traceparent).startswith(span)
    assert by_order[b"block"].traceparent == by_order[b"plain"].traceparent
    assert by_order[b"without"].traceparent is None
    assert by_order[b"block"].extensions == {"subject": "o-1"}
    assert by_order[b"block"].correlation_id == "run-1"
    assert by_order[b"block"].causation_id, "a block's events name its transaction"


def test_an_event_names_its_schema_where_schemas_are_published(tmp_path: Path) -> None:
    async def story() -> list[Envelope]:
        async with relaying(url_of(tmp_path), schemas="https://shop.example/schemas/") as (node, broker):
            await place(node, "o-1")
            async with node.transaction() as tx:
                await tx.publish(TOPIC, Placed("o-2"), headers={"dataschema": "urn:mine"})
                await tx.publish(TOPIC, Placed("o-3"), headers={"datacontenttype": "application/msgpack"})
            return await arrived(broker, 3)

    found = {event.extensions.get("dataschema", event.content_type) for event in asyncio.run(story())}

    assert found == {f"https://shop.example/schemas/{TOPIC}/Placed.json", "urn:mine", "application/msgpack"}
    with pytest.raises(DefinitionError, match="write an absolute URI"):
        finality.open_async("memory://", schemas="shop/schemas")


def test_an_event_may_be_written_as_msgpack(tmp_path: Path) -> None:
    async def story() -> list[Envelope]:
        async with relaying(url_of(tmp_path)) as (node, broker):
            headers = {"datacontenttype": "application/msgpack"}
            await node.run(lambda tx: tx.publish(TOPIC, Placed("o-1", 7), headers=headers))
            return await arrived(broker, 1)

    [event] = asyncio.run(story())

    assert event.content_type == "application/msgpack"
    assert msgspec.msgpack.decode(event.data) == {"order": "o-1", "number": 7}
    assert JsonCodec().unpack(event.data, event.content_type, Placed) == Placed("o-1", 7)
    with pytest.raises(DecodeError, match="text/csv"):
        JsonCodec().unpack(event.data, "text/csv", Placed)


@pytest.mark.parametrize(
    "topic, headers, why",
    [
        ("no topic", None, "no name for a topic"),
        (TOPIC, {"id": "mine"}, "set by itself"),
        (TOPIC, {"Tenant": "a"}, "a-z and 0-9"),
        (TOPIC, {"tenant": 7}, "as a string"),
        (TOPIC, {"datacontenttype": "text/csv"}, "text/csv"),
    ],
)
def test_what_no_broker_could_carry_is_refused_where_it_is_published(
    topic: str, headers: Any, why: str
) -> None:
    async def story() -> None:
        async with finality.open_async("memory://") as node:
            await node.run(lambda tx: tx.publish(topic, Placed("o-1"), headers=headers))

    with pytest.raises(DefinitionError, match=why):
        asyncio.run(story())


def test_a_delayed_event_comes_when_its_time_has(tmp_path: Path) -> None:
    async def story() -> None:
        clock = MovedClock()
        async with relaying(url_of(tmp_path), environment=clock) as (node, broker):
            await node.run(lambda tx: tx.publish(TOPIC, Placed("later"), delay=timedelta(hours=1)))
            await place(node, "now")
            assert b"now" in (await arrived(broker, 1))[0].data
            clock.move(minutes=59)
            await place(node, "meanwhile")
            assert b"later" not in b"".join(event.data for event in await arrived(broker, 2))
            clock.move(minutes=2)
            await place(node, "then")  # A kick, so that nobody has to wait for a look.
            assert b"later" in b"".join(event.data for event in await arrived(broker, 4))

    asyncio.run(story())


def test_a_delayed_event_comes_by_itself(tmp_path: Path) -> None:
    async def story() -> list[Envelope]:
        async with relaying(url_of(tmp_path)) as (node, broker):
            await node.run(lambda tx: tx.publish(TOPIC, Placed("soon"), delay=timedelta(seconds=0.05)))
            return await arrived(broker, 1)

    assert len(asyncio.run(story())) == 1


# ── Who writes the row ──────────────────────────────────────────────────────────────────────

FIVE_COLUMNS = """
INSERT INTO finality_outbox (id, aggregatetype, aggregateid, type, payload)
VALUES ('f-1', 'orders', 'k', 'Placed', {payload})
"""
BY_A_FOREIGNER = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()"
BY_A_JOINED_SESSION = """
import sqlite3, sys
from dataclasses import dataclass
from datetime import timedelta
import finality

@dataclass
class Placed:
    order: str

c = sqlite3.connect(sys.argv[1])
joined = finality.join(c)
joined.publish("orders", Placed("joined"), key="k", headers={"subject": "s"})
joined.publish("orders", Placed("later"), key="k", delay=timedelta(seconds=0.01))
c.commit()
"""


def in_another_process(code: str, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_what_another_process_publishes_on_sqlite_is_relayed(tmp_path: Path) -> None:
    """A joined session's rows, and those of a foreign writer that knows Debezium's five columns."""

    async def story() -> list[Envelope]:
        async with relaying(url_of(tmp_path)) as (_, broker):
            path = str(tmp_path / "home.db")
            await asyncio.to_thread(in_another_process, BY_A_JOINED_SESSION, path)
            await asyncio.to_thread(
                in_another_process, BY_A_FOREIGNER, path, FIVE_COLUMNS.format(payload="'{}'")
            )
            return await arrived(broker, 3)

    events = {event.data: event for event in asyncio.run(story())}

    assert events.keys() == {b'{"order":"joined"}', b'{"order":"later"}', b"{}"}
    assert events[b"{}"].id == "f-1"
    assert events[b"{}"].time > 1e9
    assert events[b'{"order":"joined"}'].extensions == {"subject": "s"}


@pytest.fixture
def database(finality_postgres: PostgresServer) -> str:
    return finality_postgres.database()


def joined(url: str) -> None:
    with psycopg.connect(url) as connection:
        finality.join(connection).publish(TOPIC, Placed("k"), key="k")


def foreign(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(FIVE_COLUMNS.format(payload=r"'{}'"))


@pytest.mark.slow
@pytest.mark.parametrize("write", [joined, foreign])
def test_what_another_session_publishes_on_postgresql_is_relayed(
    database: str, write: Callable[[str], None]
) -> None:
    async def story() -> list[Envelope]:
        async with relaying(database) as (_, broker):
            await asyncio.to_thread(write, database)
            return await arrived(broker, 1)

    [event] = asyncio.run(story())

    assert (event.topic, event.key, event.type) == (TOPIC, "k", "Placed")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["postgres", "psycopg"])
def test_what_a_prepared_branch_publishes_comes_with_its_decision(
    database: str, tmp_path: Path, kind: str
) -> None:
    """Also when it has the lower sequence number than what was relayed before it."""

    async def story() -> None:
        broker = own_broker()
        stores = {"bank": database, "shop": f"sqlite:///{tmp_path}/shop.db"}
        with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
            connection.execute("CREATE TABLE sold (what TEXT PRIMARY KEY)")
        bank: Any = getattr(finality, kind)(database, name="bank")
        shop: Any = finality.sqlite(f"{tmp_path}/shop.db", name="shop")
        async with (
            relaying(url_of(tmp_path), broker, stores=stores, participants=[bank, shop]) as (node, _),
            node.transaction() as tx,
        ):
            branch = await tx.enlist(bank)
            joined = finality.join_async(branch if kind == "postgres" else branch.session)
            assert await joined.is_first("request", "place")
            assert not await joined.is_first("request", "place")
            await joined.publish(TOPIC, Placed("prepared"), key="a")
            at_shop = await tx.enlist(shop)
            await at_shop.execute("INSERT INTO sold VALUES ('book')")
            await finality.join_async(at_shop).publish(TOPIC, Placed("sold"), key="b")
            await place(node, "between", at="bank")
            assert len(await arrived(broker, 1)) == 1
        async with relaying(url_of(tmp_path), broker, stores=stores):
            assert {event.key for event in await arrived(broker, 3)} == {"a", "b", "between"}

    asyncio.run(story())


def test_without_a_broker_events_stay_where_they_are(tmp_path: Path) -> None:
    async def story() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            await place(node, "o-1")
        async with relaying(url_of(tmp_path)) as (node, broker):
            await eventually(lambda: stored(broker))
            assert (await node.health()).node

    asyncio.run(story())


# ── A foreign outbox ────────────────────────────────────────────────────────────────────────

FOREIGN = """
CREATE TABLE outbox_event (
    id {id} PRIMARY KEY, aggregatetype TEXT, aggregateid TEXT, type TEXT, payload {payload}
)
"""
INSERT_AND_DELETE = (
    "INSERT INTO outbox_event VALUES ('6a86cb52-6d2e-4c5d-8d0e-6d2c4ec15ef0', 'orders', 'k', 'Placed', '{}')",
    "DELETE FROM outbox_event",
)


async def adopted(url: str, id: str, payload: str) -> Envelope:
    """Return what comes of a row of an adopted outbox that is deleted in its own commit."""
    async with relaying(url) as (node, broker):
        await node.run(lambda tx: tx.execute(FOREIGN.format(id=id, payload=payload)))
        with pytest.raises(finality.NotFound, match="no table"):
            await adopt_outbox(url, "outbox")
        await adopt_outbox(url, "outbox_event")
        await adopt_outbox(url, "outbox_event")
        await node.run(lambda tx: [tx.execute(sql) for sql in INSERT_AND_DELETE])
        [event] = await arrived(broker, 1)
        await adopt_outbox(url, "outbox_event", is_undone=True)
        await node.run(lambda tx: [tx.execute(sql) for sql in INSERT_AND_DELETE])
        assert len(await (await node.outbox()).events()) == 1
        return event


def test_a_foreign_outbox_on_sqlite_is_relayed(tmp_path: Path) -> None:
    event = asyncio.run(adopted(url_of(tmp_path), "TEXT", "TEXT"))

    assert (event.topic, event.key, event.type, event.data) == ("orders", "k", "Placed", b"{}")
    assert event.id.startswith("6a86cb52")


@pytest.mark.slow
@pytest.mark.parametrize("payload", ["jsonb", "bytea"])
def test_a_foreign_outbox_on_postgresql_is_relayed(database: str, payload: str) -> None:
    event = asyncio.run(adopted(database, "uuid", payload))

    assert (event.topic, event.key, event.type, event.data) == ("orders", "k", "Placed", b"{}")
    assert event.id.startswith("6a86cb52")


def test_a_table_that_is_no_outbox_is_not_adopted(tmp_path: Path) -> None:
    async def story() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            await node.run(lambda tx: tx.execute("CREATE TABLE orders (id TEXT)"))
            await adopt_outbox(url_of(tmp_path), "orders")

    with pytest.raises(DefinitionError, match="has no column aggregatetype"):
        asyncio.run(story())
