"""An idle node rests: nobody looks for long, and yet it hears at once what another node has to say."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

import finality
from finality.adapters.postgres import bell
from finality.adapters.postgres import store as postgres_store
from finality.adapters.sqlite import store as sqlite_store
from finality.runtime import lookout, timers
from finality.testing import PostgresServer
from tests.integration.kit import eventually, url_of, within

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("postgres")]

HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Approval(finality.Saga):
    @finality.step(wait_for=finality.signal("approval", within=HOUR))
    def approved(self, tx: finality.SyncTx, approval: bool) -> bool:
        return approval


def opened(url: str) -> finality.AsyncNode:
    return finality.open_async(url, lease=4 * HOUR)


def rests(node: finality.AsyncNode) -> bool:
    return node._insides.timers._lookout.pause_seconds == HOUR.total_seconds()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_node_that_rests_is_told_of_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, request: pytest.FixtureRequest
) -> None:
    """Nothing else would wake it: its looks, its clock and its lease are an hour away."""
    monkeypatch.setattr(timers, "CLOCK_SECONDS", HOUR.total_seconds())
    for store in (sqlite_store, postgres_store):
        monkeypatch.setattr(store, "QUIET_SECONDS", HOUR.total_seconds())
    monkeypatch.setattr(bell, "BEGIN_SECONDS", 0.0)
    url = url_of(tmp_path)
    if kind == "postgres":
        server: PostgresServer = request.getfixturevalue("finality_postgres")
        url = server.database()

    async def story() -> None:
        async with opened(url) as node, opened(url) as other:
            handle = await node.start(Approval(), id="a")
            with monkeypatch.context() as patch:
                patch.setattr(lookout, "GROWTH", 1e9)  # It rests without looking any more.
                await eventually(lambda: all(rests(each) for each in (node, other)))
            assert await (await other.handle("a")).signal("approval", True)

            assert await within(handle.result()) is True

    asyncio.run(story())
