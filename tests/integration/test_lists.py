"""Steps that run over a list, and results that cannot be kept."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import finality
from finality.core.saga import events as e
from tests.integration.kit import effects, put, table, told, url_of, within

ONCE = finality.Retry(attempts=1)
SEEN: list[str] = []

# ── Lists ───────────────────────────────────────────────────────────────────────────────────

AT_ONCE: list[int] = [0, 0]


@dataclass(frozen=True)
class Many(finality.Saga):
    songs: list[str]
    bad: str = ""

    @finality.step
    def begun(self, tx: finality.SyncTx) -> int:
        return len(self.songs)

    @finality.step(each="songs", at_once=3, retry=ONCE)
    async def licence(self, item: str, begun: int) -> str:
        AT_ONCE[0] += 1
        AT_ONCE[1] = max(AT_ONCE)
        try:
            await asyncio.sleep(0.001)
        finally:
            AT_ONCE[0] -= 1
        if item == self.bad:
            raise finality.Refused(f"no licence for {item}")
        return item.upper()

    @licence.compensate
    def unlicence(self, tx: finality.SyncTx, item: str, licence: str | None) -> None:
        put(tx, f"-{item} {licence}")

    @finality.step
    def sold(self, tx: finality.SyncTx, licence: list[str]) -> str:
        return ",".join(licence)


def test_a_step_runs_for_each_item_and_never_more_than_so_many_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        AT_ONCE[:] = [0, 0]
        songs = [f"song{number}" for number in range(20)]
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            outcome = await within((await node.start(Many(songs), id="m")).outcome())

            assert outcome.result == ",".join(song.upper() for song in songs)
            assert AT_ONCE == [0, 3]

    asyncio.run(main())


def test_when_one_item_is_refused_every_item_that_was_done_is_undone(tmp_path: Path) -> None:
    async def main() -> None:
        songs = [f"song{number}" for number in range(10)]
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            outcome = await within((await node.start(Many(songs, bad="song5"), id="m")).outcome())

            assert (outcome.failed_step, outcome.because) == ("licence[5]", "no licence for song5")
            done = {x.step for x in await told(node, "m") if isinstance(x, e.StepDone)} - {"begun"}
            undone = {x.step for x in await told(node, "m") if isinstance(x, e.CompensationDone)}
            assert done == undone
            assert len(done) >= 3
            assert len(await effects(node)) == len(done)

    asyncio.run(main())


def test_an_empty_list_is_done_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            outcome = await within((await node.start(Many([]), id="m")).outcome())

            assert outcome == finality.COMPLETED
            assert outcome.result == ""

    asyncio.run(main())


# ── What cannot be kept ─────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Large(finality.Saga):
    how: str

    @finality.step(retry=finality.Retry(attempts=5, first_seconds=60))
    def turn(self, tx: finality.SyncTx) -> str:
        put(tx, "turn")
        return "x" * 2_000_000 if self.how == "turn" else ""

    @finality.step(retry=finality.Retry(attempts=5, first_seconds=60))
    async def service(self, turn: str) -> str:
        return "x" * 2_000_000 if self.how == "service" else ""

    @service.compensate
    async def unservice(self, service: str | None, attempt: finality.Attempt) -> None:
        SEEN.append(f"{service} {attempt.undoes}")

    @finality.step(retry=finality.Retry(attempts=5, first_seconds=60))
    async def scope(self, tx: finality.Tx, service: str) -> Any:
        await tx.execute("INSERT INTO effect VALUES ('scope')")
        return object() if self.how == "scope" else "\x00" * 400_000 if self.how == "escaped" else ""


@pytest.mark.parametrize(
    "how, why",
    [
        ("turn", "too large for the journal"),
        ("service", "too large for the journal"),
        ("scope", "cannot be journaled"),
        ("escaped", "too large for the journal"),
    ],
)
def test_a_result_that_cannot_be_kept_fails_its_step_without_another_attempt(
    tmp_path: Path, how: str, why: str
) -> None:
    """The backoff is a minute, so that a second attempt would run into the time limit of the test."""

    async def main() -> None:
        SEEN.clear()
        async with finality.open_async(url_of(tmp_path)) as node:
            await table(node)
            outcome = await within((await node.start(Large(how), id="x")).outcome())

            assert outcome == finality.COMPENSATED
            assert why in outcome.because
            assert "scope" not in await effects(node)
            if how != "turn":
                assert ["None x/service" if how == "service" else " x/service"] == SEEN

    asyncio.run(main())


def test_an_input_that_is_too_large_is_refused_at_the_start(tmp_path: Path) -> None:
    async def main() -> None:
        async with finality.open_async(url_of(tmp_path)) as node:
            with pytest.raises(finality.LimitExceeded, match="is the most"):
                await node.start(Large("x" * 2_000_000), id="x")
            with pytest.raises(finality.NotFound):
                await node.outcome("x")

    asyncio.run(main())
