"""The relay of an outbox in PostgreSQL: commits of which nobody knows, and shares that are empty."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from finality.adapters.postgres import engine
from finality.adapters.postgres.line import Line
from finality.adapters.postgres.transaction import PostgresTransaction
from finality.ports.events import SHARES, Parked
from finality.runtime.relay import RELAY
from finality.testing import PostgresServer
from tests.integration.events.kit import arrived, ids, place, relaying, with_one_too_large
from tests.integration.kit import eventually

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("postgres")]


def test_what_is_rejected_is_parked_once_though_nobody_knows_whether_it_was(
    finality_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to the commit is lost, and the server cannot be asked at the time."""
    monkeypatch.setattr(engine, "RESOLVE_SECONDS_MAX", 0.0)
    park, tell = PostgresTransaction.park, Line.tell
    done: list[str] = []

    def seen_parking(tx: PostgresTransaction, parked: Parked) -> None:
        park(tx, parked)
        done.append("parked")

    def answered(line: Line, sql: str) -> str:
        tag = tell(line, sql)
        if sql == "COMMIT" and "parked" in done and "lost" not in done:
            done.append("lost")
            raise ConnectionResetError("the answer was lost")
        return tag

    monkeypatch.setattr(PostgresTransaction, "park", seen_parking)
    monkeypatch.setattr(Line, "tell", answered)

    async def story() -> None:
        async with relaying(finality_postgres.database(), lease=timedelta(seconds=1)) as (node, broker):
            await with_one_too_large(node)
            await eventually(lambda: "lost" in done)
            await place(node, "6", key="k")
            outbox = await node.outbox()

            async def went_on() -> bool:
                return b'"6"' in b"".join(each.data for each in await outbox.parked())

            await eventually(went_on)
            parked = await outbox.parked()
            assert len(parked) == len({each.id for each in parked}) == 5
            assert sorted(ids(await arrived(broker, 2))) == ["1", "other"]

    asyncio.run(story())


def test_a_share_without_events_does_not_look_at_those_of_others_twice(
    finality_postgres: PostgresServer,
) -> None:
    async def story() -> None:
        async with relaying(finality_postgres.database()) as (node, broker):
            await place(node, "a")
            await arrived(broker, 1)
            home = (await node.opened()).home

            async def all_have_looked() -> bool:
                return [bool(each.cursor) for each in await home.progress(RELAY)] == [True] * SHARES

            assert await eventually(all_have_looked)

    asyncio.run(story())
