"""Reservations at a service over HTTP: mounted anywhere, on real sockets, over lines that lose answers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import finality
import finality.http
from finality.adapters.http import service as http_service
from finality.core.reservation import LAPSE_SECONDS
from finality.core.two_phase import Decision
from finality.http import application
from finality.node.opening import participant_at
from finality.ports.participant import BranchId
from tests.integration.http_kit import (
    TOKEN,
    Line,
    app_of,
    booking,
    hold,
    play,
    seats,
    seats_node,
    served,
    service,
)
from tests.integration.kit import MovedClock, eventually, url_of
from tests.integration.processes import process
from tests.integration.reservation_kit import TROUBLE, AsyncHold, Hold, ShortHold, becomes

LOST_FOR_GOOD = 1_000


@pytest.fixture(autouse=True)
def _no_trouble() -> Iterator[None]:
    TROUBLE.left = 0
    yield
    TROUBLE.left = 0


# ── Mounted, and by itself ──────────────────────────────────────────────────────────────────


def by_itself(app: Any) -> Any:
    return app, ""


def in_starlette(app: Any) -> Any:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    return Starlette(routes=[Mount("/finality", app)]), "/finality"


def in_fastapi(app: Any) -> Any:
    from fastapi import FastAPI

    outer = FastAPI()
    outer.mount("/api/finality", app)
    return outer, "/api/finality"


def in_litestar(app: Any) -> Any:
    from litestar import Litestar, asgi

    return Litestar([asgi("/finality", is_mount=True, copy_scope=True)(app)]), "/finality"


@pytest.mark.slow
@pytest.mark.parametrize("mounted", [by_itself, in_starlette, in_fastapi, in_litestar])
def test_it_works_wherever_it_is_mounted(mounted: Any) -> None:
    async def main() -> None:
        async with seats_node("memory://") as there:
            app, path = mounted(app_of(there))
            async with served(app) as url, booking(service(url + path)) as node:
                at_seats = node.settings.participants[0]
                async with node.transaction() as tx:
                    assert await tx.reserve(Hold("1"), at=at_seats) == "ticket 1"  # type: ignore[arg-type]  # it reserves
                    assert await tx.reserve(AsyncHold("1")) == "ticket 1"
                    branch: Any = await tx.enlist(at_seats, is_new=True)
                    assert await branch.reserve("AsyncHold", {"seat": "2"}) == "ticket 2"
                    assert (await seats(there), await seats(node)) == ("held held free", "held free free")

                assert (await seats(there), await seats(node)) == ("sold sold free", "sold free free")

                with pytest.raises(finality.Refused, match="seat 2 is sold"):
                    await take_two(node, at_seats)

                assert (await seats(there), await seats(node)) == ("sold sold free", "sold free free")

    play(main())


async def take_two(node: finality.AsyncNode, at_seats: Any) -> None:
    """Hold a seat here, and one there that is sold."""
    async with node.transaction() as tx:
        await tx.reserve(Hold("3"))
        await tx.reserve(Hold("2"), at=at_seats)


# ── Lines that lose answers ─────────────────────────────────────────────────────────────────


@pytest.mark.slow
@pytest.mark.parametrize("lost", [1, 2, 3])
def test_whichever_answer_is_lost_all_agree(lost: int) -> None:
    """A lost answer is asked for again, and the service answers what it answered."""

    async def main() -> None:
        async with (
            seats_node("memory://") as there,
            served(app_of(there)) as url,
            Line().to(url) as line,
            booking(service(line.url)) as node,
        ):
            at_seats = node.settings.participants[0]
            before = line.requests
            for seat in "12":
                line.losing = lost if seat == "2" else 0
                async with node.transaction() as tx:
                    await tx.reserve(Hold(seat))
                    assert await tx.reserve(Hold(seat), at=at_seats) == f"ticket {seat}"  # type: ignore[arg-type]  # it reserves

            assert line.requests > before + 4
            await becomes(lambda: seats(there), "sold sold free")
            assert await seats(node) == "sold sold free"

    play(main())


@pytest.mark.slow
def test_what_a_lost_try_may_hold_is_cancelled() -> None:
    async def main() -> None:
        async with (
            seats_node("memory://") as there,
            served(app_of(there)) as url,
            Line().to(url) as line,
            booking(service(line.url)) as node,
        ):
            at_seats: Any = node.settings.participants[0]
            line.losing = LOST_FOR_GOOD
            with pytest.raises(finality.TransactionAborted, match="its try was cut off"):
                await swallow(node, at_seats)
            with pytest.raises(finality.OutcomeUnknown, match="may hold something for branch seats"):
                await hold(node, at_seats, deadline=timedelta(seconds=4))
            line.losing = 0
            await becomes(lambda: seats(there), "free free free")

            assert await seats(node) == "free free free"

    play(main())


async def swallow(node: finality.AsyncNode, at_seats: Any) -> None:
    """Go on although nobody knows what the service holds."""
    async with node.transaction() as tx:
        await tx.reserve(Hold("1"))
        with pytest.raises(finality.OutcomeUnknown):
            await tx.reserve(Hold("1"), at=at_seats)


@pytest.mark.slow
def test_a_service_that_is_not_there_holds_nothing() -> None:
    async def main() -> None:
        async with booking(service("http://127.0.0.1:9", timeout=timedelta(seconds=1))) as node:
            at_seats: Any = node.settings.participants[0]
            with pytest.raises(finality.Unavailable, match="nothing is held"):
                await hold(node, at_seats)

    play(main())


@pytest.mark.slow
def test_confirm_that_fails_there_is_asked_again() -> None:
    async def main() -> None:
        async with (
            seats_node("memory://") as there,
            served(app_of(there)) as url,
            booking(service(url)) as node,
        ):
            at_seats: Any = node.settings.participants[0]
            async with node.transaction() as tx:
                await tx.reserve(Hold("1"), at=at_seats)
                await tx.reserve(Hold("2"), at=at_seats)
                TROUBLE.left = 2
            await becomes(lambda: seats(there), "sold sold free")

            TROUBLE.left = 1
            with pytest.raises(finality.Refused, match="due until it works"):
                await hold(node, at_seats, "3")
            assert await seats(there) == "sold sold free"

    play(main())


@pytest.mark.slow
def test_a_command_line_names_it_by_its_url() -> None:
    async def main() -> None:
        async with seats_node("memory://") as there, served(app_of(there)) as url:
            named: Any = participant_at("seats", url.replace("http://", f"http://:{TOKEN}@"))
            async with booking(named) as node:
                await hold(node, named)

            assert await seats(there) == "sold free free"

    play(main())


# ── Expiry, and a service that dies ─────────────────────────────────────────────────────────


@pytest.mark.slow
def test_what_lapses_at_the_service_is_a_heuristic_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "LAPSE_LOOK_SECONDS", 0.02)
    ours, theirs = MovedClock(), MovedClock()

    async def main() -> None:
        async with (
            seats_node("memory://", environment=theirs) as there,
            served(app_of(there)) as url,
            booking(service(url), environment=ours) as node,
        ):
            at_seats: Any = node.settings.participants[0]

            async def overslept() -> None:
                theirs.move(seconds=30 + LAPSE_SECONDS)
                await becomes(lambda: seats(there), "free free free")

            with pytest.raises(finality.HeuristicOutcome, match="seats was aborted by hand") as raised:
                await hold_both(node, at_seats, "1", overslept)
            assert sorted(raised.value.did.values()) == ["aborted", "committed"]
            assert await seats(node) == "sold free free"

            async def dawdled() -> None:
                ours.move(seconds=31)

            with pytest.raises(finality.TransactionAborted, match="has expired"):
                await hold_both(node, at_seats, "2", dawdled)
            assert (await seats(there), await seats(node)) == ("free free free", "sold free free")

    play(main())


async def hold_both(node: finality.AsyncNode, at_seats: Any, seat: str, then: Any) -> None:
    """Hold a seat here, and one there for half a minute."""
    async with node.transaction() as tx:
        await tx.reserve(Hold(seat))
        await tx.reserve(ShortHold(seat), at=at_seats)
        await then()


nothing: list[str] = []

SERVICE = """
import uvicorn
from tests.integration.http_kit import (
    TOKEN,
    Line,
    app_of,
    booking,
    hold,
    play,
    seats,
    seats_node,
    served,
    service,
)
from tests.integration.reservation_kit import SEATS

async def main():
    node = finality.open_async(URL)
    for statement in SEATS:
        await node.run(lambda tx: tx.execute(statement))
    server = uvicorn.Server(uvicorn.Config(app_of(node), port={port}, log_level="error", ws="none"))
    serving = asyncio.ensure_future(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    (HERE / "port").write_text(str(server.servers[0].sockets[0].getsockname()[1]))
    mark("serves")
    await serving

asyncio.run(main())
"""


@pytest.mark.slow
def test_a_service_that_was_killed_answers_as_before(tmp_path: Path) -> None:
    async def main() -> None:
        with process(tmp_path, SERVICE.format(port=0)) as running:
            await eventually(lambda: running.marked("serves"))
            port = int((tmp_path / "port").read_text())
            at_seats = service(f"http://127.0.0.1:{port}")
            async with booking(at_seats, url=url_of(tmp_path, "here")) as node:
                async with node.transaction() as tx:
                    await tx.reserve(Hold("1"), at=at_seats)
                    await tx.reserve(AsyncHold("2"), at=at_seats)
                    branches = [doubt.branch for doubt in await at_seats.in_doubt()]
                    running.kill()
                (tmp_path / "serves").unlink()
                with process(tmp_path, SERVICE.format(port=port)) as again:
                    await eventually(lambda: again.marked("serves"))
                    await becomes(lambda: in_doubt(at_seats), nothing)
                    for branch in branches:
                        assert await at_seats.finish(branch, Decision.ABORT) is Decision.COMMIT
                    late = BranchId(branches[0].home, branches[0].transaction, "seats", 7)
                    assert await at_seats.finish(late, Decision.COMMIT) is Decision.ABORT

    play(main(), 60)


async def in_doubt(at_seats: http_service.Service) -> list[str]:
    """Return what the service holds; ``?`` while it cannot be asked."""
    try:
        return [str(doubt.branch) for doubt in await at_seats.in_doubt()]
    except finality.Unavailable:
        return ["?"]
