"""Reservations in a store: tried at once, confirmed or cancelled once, on any node, after any crash."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apsw
import pytest

import finality
from finality.core.errors import MethodFailed
from finality.core.reservation import LAPSE_SECONDS, LATE
from finality.core.two_phase import Decision, Vote
from finality.patterns.reservation import code_of
from tests.integration.kit import MovedClock, url_of
from tests.integration.processes import process
from tests.integration.reservation_kit import (
    TROUBLE,
    AsyncHold,
    Hold,
    Place,
    ShortHold,
    id_of,
    run,
)

COMMIT, ABORT = Decision.COMMIT, Decision.ABORT
ON_POSTGRES = [pytest.mark.slow, pytest.mark.xdist_group("postgres")]
T1 = id_of("t1")


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=ON_POSTGRES)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("finality_postgres").database())
    return "memory://" if request.param == "memory" else url_of(tmp_path)


@pytest.fixture(params=[Hold, AsyncHold])
def hold(request: pytest.FixtureRequest) -> type[Hold]:
    chosen: type[Hold] = request.param
    return chosen


@pytest.fixture(autouse=True)
def _no_trouble() -> Iterator[None]:
    TROUBLE.left = 0
    yield
    TROUBLE.left = 0


@pytest.mark.parametrize("decision, seats", [(COMMIT, "sold free free"), (ABORT, "free free free")])
def test_a_hold_stands_until_it_is_decided_and_ends_once(
    url: str, hold: type[Hold], decision: Decision, seats: str
) -> None:
    async def story(here: Place) -> None:
        branch = await here.there.begin(T1)

        assert await branch.reserve(hold.__name__, hold("1")) == "ticket 1"
        assert await here.seats() == "held free free"
        assert await here.doubts() == ["t1"]
        assert await branch.prepare() is Vote.YES
        for _ in range(3):
            assert await here.there.finish(T1, decision) is decision
        assert await here.seats() == seats
        assert await here.effects("1") == (1, 1)
        assert await here.doubts() == []

    run(url, story)


def test_a_refused_try_holds_nothing_and_stays_refused(url: str, hold: type[Hold]) -> None:
    async def story(here: Place) -> None:
        first = await here.hold(hold("1"))
        second = await here.there.begin(id_of("t2"))
        with pytest.raises(finality.Refused, match="seat 1 is held"):
            await second.reserve(hold.__name__, hold("1"))

        assert await here.effects("1") == (1, 0)
        assert await second.prepare() is Vote.READ_ONLY

        await first.abort()
        reserved, _ = await here.there.try_(second.id, hold.__name__, hold("1"), decided_by=0)

        assert reserved.because == "seat 1 is held"
        assert await here.there.finish(second.id, COMMIT) is ABORT
        assert await here.seats() == "free free free"

    run(url, story)


def test_a_late_try_is_refused_for_ever(url: str, hold: type[Hold]) -> None:
    async def story(here: Place) -> None:
        assert await here.there.finish(T1, ABORT) is ABORT
        for _ in range(2):
            branch = await here.there.begin(T1)
            with pytest.raises(finality.Refused, match=LATE):
                await branch.reserve(hold.__name__, hold("1"))

        assert await here.effects("1") == (0, 0)

    run(url, story)


def test_what_nobody_tried_has_not_committed(url: str) -> None:
    async def story(here: Place) -> None:
        assert await here.there.finish(T1, COMMIT) is ABORT
        assert await (await here.there.begin(T1)).prepare() is Vote.READ_ONLY

        await here.hold(Hold("1"))  # The mistaken confirm has changed nothing.

        assert await here.there.finish(T1, COMMIT) is COMMIT

    run(url, story)


@pytest.mark.parametrize("decision", [COMMIT, ABORT])
def test_what_fails_is_asked_again_until_it_works(url: str, hold: type[Hold], decision: Decision) -> None:
    async def story(here: Place) -> None:
        await here.hold(hold("1"))
        TROUBLE.left = 2
        for _ in range(2):
            with pytest.raises(MethodFailed, match="ConnectionError: the printer is out of paper"):
                await here.there.finish(T1, decision)

            assert await here.seats() == "held free free"
            [doubt] = await here.elsewhere.in_doubt(says_holds=True)
            assert doubt.holds.startswith(
                f"{hold.__name__}; its con" if decision is COMMIT else hold.__name__
            )
            assert doubt.holds.endswith("failed: ConnectionError: the printer is out of paper")

        assert await here.there.finish(T1, decision) is decision
        assert await here.effects("1") == (1, 1)

    run(url, story)


def test_alone_its_confirm_is_the_decision(url: str, hold: type[Hold]) -> None:
    async def story(here: Place) -> None:
        await (await here.hold(hold("1"))).commit()

        assert await here.there.settle(T1) is COMMIT

        branch = await here.hold(hold("2"), "t2")
        TROUBLE.left = 1
        with pytest.raises(finality.Refused, match="out of paper"):
            await branch.commit()

        assert await here.there.settle(branch.id) is ABORT
        assert await here.seats() == "sold free free"

        given_up = await here.hold(hold("3"), "t3")
        assert await here.there.settle(given_up.id) is ABORT
        with pytest.raises(finality.Conflict, match="given up"):
            await given_up.commit()
        assert await here.seats() == "sold free free"

    run(url, story)


def test_one_branch_is_one_reservation(url: str) -> None:
    async def story(here: Place) -> None:
        await here.hold(Hold("1"))
        again, _ = await here.there.try_(T1, "Hold", Hold("1"), decided_by=0)

        assert again.held == '"ticket 1"'
        with pytest.raises(finality.InputMismatch, match="begin another branch"):
            await here.there.try_(T1, "Hold", Hold("2"), decided_by=0)
        with pytest.raises(finality.NotFound, match=r"open the node with reservations=\[Nobody"):
            await here.there.try_(T1, "Nobody", Hold("1"), decided_by=0)
        with pytest.raises(finality.LimitExceeded, match="such a name of its participant"):
            await here.there.begin(id_of("t1", name="a.b"))

    run(url, story)


# ── Expiry ──────────────────────────────────────────────────────────────────────────────────


def test_an_expired_hold_votes_no_and_lapses_only_long_after(url: str) -> None:
    clock = MovedClock()

    async def story(here: Place) -> None:
        in_time = await here.hold(ShortHold("1"), "t1")
        late = await here.hold(ShortHold("2"), "t2")
        left = await here.hold(ShortHold("3"), "t3")
        assert await in_time.prepare() is Vote.YES
        clock.move(seconds=31)
        with pytest.raises(finality.Unavailable, match="has expired"):
            await late.prepare()
        with pytest.raises(finality.DeadlinePassed, match="has expired"):
            await late.commit()

        assert await here.seats() == "held free held"
        assert await here.there.lapse() == []
        assert await here.there.finish(in_time.id, COMMIT) is COMMIT, "it was decided in time"

        clock.move(seconds=LAPSE_SECONDS)

        assert await here.there.lapse() == [left.id]
        assert await here.there.finish(left.id, COMMIT) is ABORT, "whoever confirms it is told"
        assert await here.seats() == "sold free free"

    run(url, story, environment=clock)


# ── What cannot be read, and what nobody knows ──────────────────────────────────────────────


def test_a_row_that_cannot_be_read_parks_only_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(here: Place) -> None:
        await here.hold(Hold("1"), "broken")
        await here.hold(Hold("2"), "foreign")
        await here.hold(Hold("3"), "good")
        await here.there.finish(id_of("odd"), ABORT)
        database = apsw.Connection(str(tmp_path / "home.db"))
        database.execute(
            "UPDATE finality_witness SET answer = '{' "
            "WHERE transaction_id LIKE '%:broken' AND operation = 'hold'"
        )
        database.execute(
            "UPDATE finality_witness SET answer = replace(answer, '\"Hold\"', '\"Gone\"') "
            "WHERE transaction_id LIKE '%:foreign' AND operation = 'hold'"
        )
        database.execute("UPDATE finality_witness SET answer = 'odd' WHERE transaction_id LIKE '%:odd'")
        database.close()
        with caplog.at_level(logging.ERROR):
            assert await here.doubts() == ["broken", "foreign", "good"]
        assert "the hold of finality:0123456789ab:broken:reservations cannot be read" in caplog.text
        assert await here.there.health() == [
            ("reservations", False, "3 held, 2 of them unknown to this node")
        ]
        for lost, why in (
            ("broken", "not a Standing"),
            ("foreign", "reservation Gone is not known"),
            ("odd", "is 'odd', then 'odd'"),
        ):
            with pytest.raises(finality.Unavailable, match=why):
                await here.there.finish(id_of(lost), COMMIT)
        assert await here.there.finish(id_of("good"), COMMIT) is COMMIT
        assert await here.seats() == "held held sold"

    run(url_of(tmp_path), story)


@dataclass(frozen=True)
class SecretHold(finality.Reservation[str]):
    """Has something to hide."""

    card: finality.Secret[str]

    def try_(self, tx: finality.SyncTx) -> str:
        if self.card.reveal() == "4000":
            raise finality.Refused(f"card {self.card.reveal()} is blocked")
        return "authorised"

    def confirm(self, tx: finality.SyncTx, held: str) -> None:
        raise RuntimeError(f"card {self.card.reveal()} is gone")

    def cancel(self, tx: finality.SyncTx, held: str) -> None: ...


def test_secrets_are_sealed_and_masked(tmp_path: Path) -> None:
    async def story(here: Place) -> None:
        branch = await here.there.begin(T1)
        with pytest.raises(finality.Refused) as refused:
            await branch.reserve("SecretHold", SecretHold(finality.Secret("4000")))

        assert "4000" not in str(refused.value)

        await here.hold(SecretHold(finality.Secret("4111-1111")), "t2")
        with pytest.raises(MethodFailed) as failed:
            await here.there.finish(id_of("t2"), COMMIT)

        assert "4111-1111" not in str(failed.value)
        rows = await here.node.query("SELECT answer FROM finality_witness")
        assert len(rows) == 4
        assert "4111-1111" not in str(rows)
        assert "4000" not in str(rows)

    key = finality.new_secret_key()
    run(url_of(tmp_path), story, kinds={"SecretHold": code_of(SecretHold)}, secret_key=key)


# ── Kill -9, at the first point, at the second, and so on ───────────────────────────────────

LIFE = """
from finality.core.two_phase import Decision
from tests.integration.processes import process
from tests.integration.reservation_kit import {hold}, id_of, place

class Mortal(SystemEnvironment):
    left = {dies_at}
    def reach(self, point):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

async def main():
    async with place(URL) as here:  # Its own points are left out: they are the store's.
        there = here.there
        Mortal.left, here.node._environment.reach = {dies_at}, Mortal().reach
        await here.hold({hold}("1"))
        mark("held")
        assert await there.finish(id_of("t1"), Decision({decision!r})) is Decision({decision!r})
        mark("finished")
        os._exit(0)

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind, decision", [("Hold", ABORT), ("AsyncHold", COMMIT)])
def test_kill_9_anywhere_leaves_nothing_half_done(tmp_path: Path, kind: str, decision: Decision) -> None:
    status = -9
    for dies_at in range(1, 30):
        folder = tmp_path / str(dies_at)
        folder.mkdir()
        code = LIFE.format(hold=kind, dies_at=dies_at, decision=decision.value)
        with process(folder, code) as life:
            status, _, errors = life.end()
        assert status in (0, -9), errors

        run(url_of(folder), lambda here: survived(here, folder, decision))  # noqa: B023 - run at once

        if status == 0:
            break
    assert dies_at > 4, "there are points to die at"
    assert status == 0, "a run has reached its end untouched"


async def survived(here: Place, folder: Path, decision: Decision) -> None:
    """See that what was durable is, and that it can be finished once."""
    was_held, was_finished = (folder / "held").exists(), (folder / "finished").exists()
    holds, ends = await here.effects("1")

    assert holds in ((1,) if was_held else (0, 1))
    assert ends in ((1,) if was_finished else (0, 1))
    assert (await here.doubts() == ["t1"]) is (holds > ends)

    did = await here.there.finish(T1, decision if holds else ABORT)

    assert did is (decision if holds else ABORT)
    assert await here.effects("1") == (holds, holds)
    assert await here.seats() == ("sold free free" if holds and decision is COMMIT else "free free free")
    assert await here.doubts() == []
