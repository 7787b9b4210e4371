"""Reservations in transaction blocks: all are confirmed, or all cancelled, whoever drives them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import finality
from finality.core.two_phase import Decision
from tests.integration.kit import MovedClock, eventually, url_of
from tests.integration.processes import process
from tests.integration.reservation_kit import SEATS, TROUBLE, AsyncHold, Hold, becomes

RESERVATIONS = (Hold, AsyncHold)


@pytest.fixture(autouse=True)
def _no_trouble() -> Any:
    TROUBLE.left = 0
    yield
    TROUBLE.left = 0


@contextlib.asynccontextmanager
async def opened(folder: Path, **settings: Any) -> AsyncIterator[finality.AsyncNode]:
    """Open a node with seats at home and in another store."""
    async with finality.open_async(
        url_of(folder), stores={"hall": url_of(folder, "hall")}, reservations=RESERVATIONS, **settings
    ) as node:
        for at in (None, "hall"):
            for statement in SEATS:
                await node.run(lambda tx, statement=statement: tx.execute(statement), at=at)
        yield node


async def seats(node: finality.AsyncNode) -> list[str]:
    """Return the states of the seats, at home and in the hall."""
    query = "SELECT state FROM seat ORDER BY id"
    return [" ".join(state for (state,) in await node.query(query, at=at)) for at in (None, "hall")]


async def statuses(node: finality.AsyncNode) -> list[str]:
    """Return how the decided transactions are."""
    return [head.status for head in await node.transactions()]


def test_a_block_confirms_all_or_cancels_all(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as node:
            async with node.transaction() as tx:
                assert await tx.reserve(Hold("1")) == "ticket 1"
                assert await tx.reserve(AsyncHold("2"), at="hall") == "ticket 2"
                assert await seats(node) == ["held free free", "free held free"]
                await tx.execute("CREATE TABLE booking (tickets INTEGER)")

            assert await seats(node) == ["sold free free", "free sold free"]
            assert await node.query("SELECT * FROM booking") == []

            with pytest.raises(LookupError):
                await fail(node)

            assert await seats(node) == ["sold free free", "free sold free"]
            assert await node.in_doubt() == []

    asyncio.run(main())


async def fail(node: finality.AsyncNode) -> None:
    """Hold two seats, and change one's mind."""
    async with node.transaction() as tx:
        await tx.reserve(AsyncHold("3"))
        await tx.reserve(Hold("3"), at="hall")
        raise LookupError


def test_whoever_is_refused_one_seat_may_take_another(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as node:
            async with node.transaction() as tx:
                await tx.reserve(Hold("1"))
            async with node.transaction() as tx:
                with pytest.raises(finality.Refused, match="seat 1 is sold"):
                    await tx.reserve(Hold("1"))
                await tx.reserve(Hold("2"))

            assert await seats(node) == ["sold sold free", "free free free"]

            with pytest.raises(finality.Refused, match="seat 2 is sold"):
                await take_both(node)

            assert await seats(node) == ["sold sold free", "free free free"]

    asyncio.run(main())


async def take_both(node: finality.AsyncNode) -> None:
    """Ask for a seat that is free and one that is not."""
    async with node.transaction() as tx:
        await tx.reserve(AsyncHold("3"))
        await tx.reserve(AsyncHold("2"))


def test_seats_may_be_reserved_side_by_side(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as node, node.transaction() as tx:
            held = await asyncio.gather(*(tx.reserve(Hold(seat)) for seat in "123"))

            assert held == ["ticket 1", "ticket 2", "ticket 3"]

    asyncio.run(main())


@pytest.mark.slow
def test_a_confirm_that_fails_is_asked_again_by_the_node(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as node:
            async with node.transaction() as tx:
                await tx.reserve(Hold("1"))
                await tx.reserve(Hold("2"), at="hall")
                TROUBLE.left = 3

            await becomes(lambda: seats(node), ["sold free free", "free sold free"])
            assert await node.decision(tx.id) is Decision.COMMIT

    asyncio.run(main())


def test_without_await_it_reads_the_same(tmp_path: Path) -> None:
    with finality.open(url_of(tmp_path), reservations=[Hold]) as node:
        for statement in SEATS:
            node.run(lambda tx, statement=statement: tx.execute(statement))  # type: ignore[misc]  # mypy infers no default
        with node.transaction() as tx:
            ticket: str = tx.reserve(Hold("1"))

        assert ticket == "ticket 1"
        assert node.query("SELECT state FROM seat WHERE id = '1'") == [("sold",)]


def test_what_cannot_be_reserved_is_said_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as node, node.transaction() as tx:
            with pytest.raises(finality.NotFound, match=r"stores=\{'attic': …\}"):
                await tx.reserve(Hold("1"), at="attic")
            await tx.execute("UPDATE seat SET state = state")
            with pytest.raises(finality.DefinitionError, match="reserve before the first statement"):
                await tx.reserve(Hold("1"))
        async with finality.open_async("memory://") as node, node.transaction() as tx:
            with pytest.raises(finality.NotFound, match=r"open it with reservations=\[Hold, …\]"):
                await tx.reserve(Hold("1"))
        with pytest.raises(finality.DefinitionError, match="give the store a shorter name"):
            async with finality.open_async("memory://", stores={"s" * 20: "memory://"}, reservations=[Hold]):
                pass

    asyncio.run(main())


# ── When the coordinator is gone ────────────────────────────────────────────────────────────

LEFT_BEHIND = """
from tests.integration.test_tcc import Hold, opened

async def main():
    async with opened(HERE) as node:
        async with node.transaction({deadline}) as tx:
            await tx.reserve(Hold("1"))
            await tx.reserve(Hold("1"), at="hall")
            {before}
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.slow
def test_what_a_dead_coordinator_has_not_decided_is_cancelled_after_its_deadline(tmp_path: Path) -> None:
    code = LEFT_BEHIND.format(
        deadline="deadline=timedelta(seconds=60)", before="mark('held'); await asyncio.Event().wait()"
    )
    clock = MovedClock()

    async def main() -> None:
        with process(tmp_path, code) as other:
            await eventually(lambda: other.marked("held"))
            other.kill()
        async with opened(tmp_path, environment=clock) as node:
            assert len(await node.in_doubt()) == 2
            clock.move(seconds=30)
            await node._insides.recovery.sweep()
            assert await seats(node) == ["held free free", "held free free"], "the block may be at work"

            clock.move(seconds=33)
            await becomes(lambda: seats(node), ["free free free", "free free free"])

    asyncio.run(main())


@pytest.mark.slow
def test_what_a_dead_coordinator_has_decided_is_confirmed(tmp_path: Path) -> None:
    code = LEFT_BEHIND.format(
        deadline="",
        before="node._environment.reach = lambda point: point == 'finish.before' and os.kill(os.getpid(), 9)",
    )

    async def main() -> None:
        with process(tmp_path, code) as other:
            status, _, errors = other.end()
        assert status == -9, errors
        async with opened(tmp_path) as node:
            await becomes(lambda: seats(node), ["sold free free", "sold free free"])
            await becomes(lambda: statuses(node), ["committed"])

    asyncio.run(main())


def test_a_block_that_is_too_slow_cannot_commit(tmp_path: Path) -> None:
    clock = MovedClock()

    async def main() -> None:
        async with opened(tmp_path, environment=clock) as node:
            with pytest.raises(finality.DeadlinePassed, match="has expired"):
                await dawdle(node, clock)

            assert await seats(node) == ["free free free", "free free free"]

    asyncio.run(main())


async def dawdle(node: finality.AsyncNode, clock: MovedClock) -> None:
    """Hold a seat for longer than others wait."""
    async with node.transaction() as tx:
        await tx.reserve(Hold("1"))
        clock.move(seconds=timedelta(minutes=2).total_seconds())
