"""What an agent answers, one request at a time: it keeps its word, whatever others presume."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

import finality
from finality.adapters.http import agents
from finality.adapters.http.connection import Connection
from finality.adapters.system.environment import SystemEnvironment
from finality.core.three_phase.standing import Standing
from finality.core.two_phase import Decision, Vote
from finality.ports.agent import Address
from finality.ports.participant import BranchId
from tests.integration.http_kit import app_of, booking, play, seats, seats_node, served, service
from tests.integration.kit import eventually

AGENTS_TOKEN = "a-token-that-agents-share"


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[tuple[finality.AsyncNode, finality.AsyncNode, Any, Any]]:
    """Open a service with agents and a node that knows it."""
    async with seats_node("memory://") as there:
        app = app_of(there, agents_token=AGENTS_TOKEN)
        async with served(app) as url, booking(service(url)) as node:
            yield there, node, node.settings.participants[0], url
        await app.close()


async def held(node: finality.AsyncNode, at_seats: Any) -> tuple[BranchId, list[Address]]:
    """Hold a seat in a block that never ends here; return the branch, and a line with one more agent."""
    tx = await node.transaction().__aenter__()
    branch = await tx.enlist(at_seats)
    await branch.reserve("Hold", {"seat": "1"})
    gone = Address("gone", "http://127.0.0.1:9", "finality:h:t:gone")
    return branch.id, [Address(branch.id.name, await at_seats.agent_url(), str(branch.id)), gone]


async def is_free(there: finality.AsyncNode) -> bool:
    """Say whether no seat is held or sold."""
    return await seats(there) == "free free free"


@pytest.mark.slow
def test_after_a_yes_only_an_outcome_ends_the_branch() -> None:
    async def main() -> None:
        async with stage() as (there, node, at_seats, _):
            branch, line = await held(node, at_seats)

            assert await at_seats.vote(branch, line) is Vote.YES
            assert await at_seats.vote(branch, line) is Vote.YES
            assert [doubt.branch for doubt in await at_seats.in_doubt()] == []
            with pytest.raises(finality.Unavailable, match="unavailable"):
                await at_seats.finish(branch, Decision.ABORT)
            assert await seats(there) == "held free free"
            assert (await at_seats.pre_commit(branch)).standing is Standing.PRECOMMITTED
            await at_seats.conclude(branch, Decision.COMMIT)
            assert (await at_seats.standing(branch)).standing is Standing.COMMITTED
            assert await at_seats.finish(branch, Decision.ABORT) is Decision.COMMIT
            assert await seats(there) == "sold free free"

    play(main())


@pytest.mark.slow
def test_who_was_asked_before_it_voted_votes_no() -> None:
    async def main() -> None:
        async with stage() as (there, node, at_seats, _):
            branch, line = await held(node, at_seats)

            assert (await at_seats.standing(branch)).standing is Standing.ABORTED
            assert await at_seats.vote(branch, line) is Vote.NO
            await eventually(lambda: is_free(there))

    play(main())


@pytest.mark.slow
def test_what_holds_nothing_votes_no_and_may_be_aborted() -> None:
    async def main() -> None:
        async with stage() as (_, node, at_seats, _url):
            branch, line = await held(node, at_seats)

            assert await at_seats.finish(branch, Decision.ABORT) is Decision.ABORT
            assert await at_seats.vote(branch, line) is Vote.NO

    play(main())


@pytest.mark.slow
def test_agents_may_ask_each_other_and_nothing_else() -> None:
    async def main() -> None:
        async with stage() as (_, node, at_seats, url):
            branch, line = await held(node, at_seats)
            await at_seats.vote(branch, line)
            connection = Connection(url, AGENTS_TOKEN, 5.0)
            connection.open(SystemEnvironment())

            report = await agents.stand(connection, str(branch), "standing", 2, "gone")
            assert (report.standing, report.term) == (Standing.UNCERTAIN, 2)
            with pytest.raises(finality.Unavailable, match="unauthenticated"):
                await agents.conclude(connection, str(branch), Decision.ABORT)
            # Whoever was in charge before is not obeyed any more.
            assert (await at_seats.pre_commit(branch)).standing is Standing.UNCERTAIN
            await connection.close()
            await at_seats.conclude(branch, Decision.ABORT)

    play(main())
