"""What a service refuses, and what it does not tell: tokens, bounds, problems, and errors of its own."""

from __future__ import annotations

import sys
from typing import Any

import aiohttp
import pytest

import finality
import finality.http
from finality.adapters.http.words import REQUEST_BYTES_MAX
from tests.integration.http_kit import (
    KINDS,
    TOKEN,
    app_of,
    booking,
    hold,
    play,
    seats_node,
    served,
    service,
)
from tests.integration.reservation_kit import id_of

T1 = id_of("t1", name="seats")


@pytest.mark.slow
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
