"""What a drive says at its saga's head, and when it leaves the head alone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

import finality
from finality.core.ids import Json, TransactionId, Version
from finality.core.saga import advance, new_state, outstanding, summary_of
from finality.core.saga import events as e
from finality.patterns.saga import definition_of
from finality.ports.home import Birth, HomeTransaction
from finality.runtime.drive import Drive
from finality.runtime.posting import RestTurn
from tests.conformance.worlds import MEMORY, N1, AnyHome, World, do, node

DUE = 1_000.0 + timedelta(days=30).total_seconds()
TOLD = e.Told("word", Json('"yes"'), "ann")


@dataclass(frozen=True)
class Visit(finality.Saga):
    """It sleeps, and hears a word meanwhile that it needs later."""

    @finality.step(wait_for=finality.timer(timedelta(days=30)))
    def rested(self, tx: finality.SyncTx) -> int:
        return 1

    @finality.step(wait_for=finality.signal("word"))
    def told(self, tx: finality.SyncTx, rested: int, word: str) -> str:
        return word


async def asleep(home: AnyHome) -> Drive:
    """Return a drive whose saga sleeps until it is due, and whose head says so."""
    definition, id = definition_of(Visit), TransactionId("v")
    graph = definition.graph
    events, state = advance(new_state(graph), e.Begin(Json("{}"), 1_000.0))

    def begin(tx: HomeTransaction) -> int | None:
        tx.define(graph.saga, graph.version, "{}")
        tx.renew(node("n1"))
        birth = Birth(id, graph.saga, graph.version, None, N1)
        return tx.create(birth, events, summary_of(state, outstanding(state)))

    key = await do(home, begin)
    drive = Drive(key, id, definition, Visit(), state, Version(len(events)), node=N1)
    await do(home, lambda tx: drive.record(tx, e.WaitBegun("rested", 1_000.0)))

    assert (await home.head(key)).wake_at == DUE

    return drive


def test_a_saga_that_is_woken_stays_so_while_it_says_nothing_new(tmp_path: Path) -> None:
    async def main(home: AnyHome) -> None:
        drive = await asleep(home)
        await do(home, lambda tx: tx.wake(drive.key))
        await do(home, lambda tx: drive.record(tx, TOLD))

        head = await home.head(drive.key)
        assert (head.version, head.status, head.wake_at) == (3, "waiting", 0.0)

    World(MEMORY, tmp_path).run(main)


@pytest.mark.parametrize("is_busy", [False, True])
def test_whatever_a_rest_has_said_the_next_append_says_when_the_saga_wakes(
    tmp_path: Path, is_busy: bool
) -> None:
    """It was claimed as due, and kept in hand if a branch is being asked; else it would sleep for ever."""

    async def main(home: AnyHome) -> None:
        drive = await asleep(home)
        rested: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        drive.busy.update({"rested"} if is_busy else ())

        assert await do(home, lambda tx: tx.claim_due(N1, DUE, limit=9)) == [(drive.key, "Visit")]

        home.submit(RestTurn(drive, set(), lambda drive, has_news, error: rested.set_result(error)))

        assert await rested is None
        assert (await home.head(drive.key)).wake_at == (None if is_busy else DUE)

        await do(home, lambda tx: drive.record(tx, TOLD))

        assert (await home.head(drive.key)).wake_at == DUE

    World(MEMORY, tmp_path).run(main)
