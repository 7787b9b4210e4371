"""Reservations at a service over HTTP: mounted anywhere, on real sockets, over lines that lose answers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import finality
import finality.http
from finality.adapters.http import service as http_service
from finality.adapters.http.words import REQUEST_BYTES_MAX
from finality.core.reservation import LAPSE_SECONDS
from finality.core.two_phase import Decision
from finality.ports.participant import BranchId
from tests.integration.http_kit import (
    KINDS,
    TOKEN,
    Line,
    app_of,
    booking,
    play,
    seats,
    seats_node,
    served,
)
from tests.integration.kit import MovedClock, eventually, url_of
from tests.integration.processes import process
from tests.integration.reservation_kit import TROUBLE, AsyncHold, Hold, ShortHold, becomes, id_of

LOST_FOR_GOOD = 1_000
T1 = id_of("t1", name="seats")


@pytest.fixture(autouse=True)
def _no_trouble() -> Iterator[None]:
    TROUBLE.left = 0
    yield
    TROUBLE.left = 0


def service(url: str, **options: Any) -> Any:
    """Return the service as transactions know it."""
    return finality.service(url, name="seats", token=TOKEN, **options)


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


async def hold(node: finality.AsyncNode, at_seats: Any, seat: str = "1", **options: Any) -> None:
    """Hold a seat there, alone."""
    async with node.transaction(**options) as tx:
        await tx.reserve(Hold(seat), at=at_seats)


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


# ── What is refused, and what is not told ───────────────────────────────────────────────────


def test_every_path_needs_the_token_and_says_what_is_wrong() -> None:
    one, two = f"/v1/branches/{T1}", f"/v1/branches/{id_of('t2', name='seats')}"
    ours = one.replace("seats", "reservations")
    try_ = b'{"reservation": "Hold", "input": {"seat": "1"}, "decided_by": 1}'
    other, gold, seven = (
        try_.replace(b'"1"', b'"2"'),
        try_.replace(b"Hold", b"Gold"),
        try_.replace(b'"1"', b"7"),
    )
    # fmt: off
    table = [
        # method  path                                 body                       answer
        ("PUT",  one,                                  try_,                      "200"),
        ("PUT",  one,                                  try_,                      "200"),
        ("PUT",  one,                                  other,                     "422 input_mismatch"),
        ("PUT",  one,                                  gold,                      "422 unknown_reservation"),
        ("PUT",  one,                                  seven,                     "422 bad_input"),
        ("PUT",  one,                                  b"{",                      "400 bad_request"),
        ("PUT",  one,                                  b" " * REQUEST_BYTES_MAX + b" ", "413 too_large"),
        ("PUT",  two,                                  try_,                      "409 refused"),
        ("PUT",  "/v1/branches/nobody",                try_,                      "400 bad_request"),
        ("PUT",  ours,                                 try_,                      "400 bad_request"),
        ("PUT",  one.replace("t1", "x" * 65),          try_,                      "400 bad_request"),
        ("GET",  one,                                  b"",                       "200"),
        ("GET",  "/v1/branches?participant=seats",     b"",                       "200"),
        ("GET",  "/v1/branches",                       b"",                       "400 bad_request"),
        ("GET",  "/v1/branches?participant=reservations", b"",                    "400 bad_request"),
        ("POST", f"{one}/commit",                      b"",                       "200"),
        ("POST", f"{ours}/abort",                      b"",                       "400 bad_request"),
        ("POST", f"{one}/forget",                      b"",                       "405 method_not_allowed"),
        ("POST", "/v1",                                b"",                       "405 method_not_allowed"),
        ("GET",  "/v1",                                b"",                       "200"),
        ("GET",  "/v2",                                b"",                       "404 not_found"),
    ]
    strangers: list[dict[str, str]] = [{}, {"Authorization": "Bearer nonsense"}, {"Authorization": TOKEN}]
    # fmt: on

    async def main() -> None:
        async with (
            seats_node("memory://") as there,
            served(app_of(there)) as url,
            aiohttp.ClientSession() as http,
        ):
            for method, path, body, answer in table:
                for header in strangers:
                    async with http.request(method, url + path, data=body, headers=header) as response:
                        assert response.status == 401
                        assert response.headers["WWW-Authenticate"] == "Bearer"
                header = {"Authorization": f"Bearer {TOKEN}"}
                async with http.request(method, url + path, data=body, headers=header) as response:
                    document = await response.json(content_type=None)

                    assert f"{response.status} {document.get('code', '')}".strip() == answer, (path, document)
                    if response.status != 200:
                        assert response.headers["Content-Type"] == "application/problem+json"
                        assert document["type"] == f"urn:finality:problem:{document['code']}"

    play(main())


def test_what_fails_inside_is_told_to_the_log_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with (
            finality.open_async("memory://") as there,
            served(app_of(there)) as url,
            booking(service(url)) as node,
        ):
            at_seats: Any = node.settings.participants[0]
            with pytest.raises(finality.Unavailable, match="the service's log says why") as failed:
                await hold(node, at_seats)

            assert "no such table" not in str(failed.value)

    play(main())
    assert "no such table: seat" in caplog.text


def test_a_wrong_token_and_a_wrong_protocol_are_named() -> None:
    async def main() -> None:
        async with seats_node("memory://") as there, served(app_of(there)) as url:
            stranger = finality.service(url, name="seats", token="another-token-entirely")
            async with booking(stranger) as node:
                assert (await stranger.health())[0][1] is False
                with pytest.raises(finality.Unavailable, match="give token= as the service knows it"):
                    await hold(node, stranger)

    play(main())


@pytest.mark.parametrize(
    "url, options, why",
    [
        ("http://seats.example", {}, "is not encrypted"),
        ("https://user:secret@seats.example", {}, "holds a password"),
        ("seats.example", {}, "is no URL"),
        ("https://seats.example", {"name": "a.b"}, "cannot be called"),
    ],
)
def test_a_service_that_would_tell_everybody_is_refused(url: str, options: Any, why: str) -> None:
    with pytest.raises(finality.DefinitionError, match=why):
        finality.service(url, **({"name": "seats"} | options))


@pytest.mark.parametrize("tokens", [[], ["short"]])
def test_a_participant_without_a_token_is_refused(tokens: list[str]) -> None:
    node = finality.open_async("memory://")
    with pytest.raises(finality.DefinitionError, match=r"secrets\.token_urlsafe"):
        finality.http.participant(node, reservations=KINDS, tokens=tokens)


def test_only_who_uses_a_service_needs_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("finality.adapters.http")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.delitem(vars(finality), "service", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"pip install finality\[http\]"):
        finality.service("https://seats.example", name="seats")


# ── Expiry, and a service that dies ─────────────────────────────────────────────────────────


def test_what_lapses_at_the_service_is_a_heuristic_outcome() -> None:
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

            with pytest.raises(finality.HeuristicOutcome, match="seats was aborted by hand"):
                await hold_both(node, at_seats, "1", overslept)
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
    KINDS,
    TOKEN,
    Line,
    app_of,
    booking,
    play,
    seats,
    seats_node,
    served,
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
