"""One request of ASGI: where it goes, what it carries, and how it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import msgspec

from finality.adapters.http.words import JSON, PROBLEM, REQUEST_BYTES_MAX, Problem

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_SECONDS_MAX = 10.0  # A request of 256 KiB over the slowest network that a transaction is run over.


class Failed(Exception):
    """The request is answered with a problem."""

    def __init__(self, problem: Problem, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.problem = problem
        self.detail = detail
        self.headers = headers


class Request:
    """A request, with its path as the application sees it, wherever it is mounted."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path = _path(scope)
        self._query: bytes = scope.get("query_string", b"")
        self._headers = {name.lower(): value for name, value in scope["headers"]}
        self._receive = receive
        self._send = send

    def header(self, name: str) -> str:
        """Return a header; empty if there is none."""
        value: bytes = self._headers.get(name.encode(), b"")
        return value.decode("latin-1")

    def parameter(self, name: str) -> str | None:
        """Return a parameter of the query; None if it is not there."""
        values = parse_qs(self._query.decode("latin-1")).get(name)
        return values[0] if values else None

    async def body(self) -> bytes:
        """Return the body.

        Raises:
            Failed: It is too large, or does not come.
        """
        length = self.header("content-length")
        if length.isdecimal() and int(length) > REQUEST_BYTES_MAX:
            raise Failed(Problem.TOO_LARGE, f"a request has at most {REQUEST_BYTES_MAX:,} bytes")
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS_MAX):
                while True:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise Failed(Problem.BAD_REQUEST, "the request was cut off")
                    body += message.get("body", b"")
                    if len(body) > REQUEST_BYTES_MAX:
                        raise Failed(Problem.TOO_LARGE, f"a request has at most {REQUEST_BYTES_MAX:,} bytes")
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError as error:
            raise Failed(Problem.TOO_SLOW, f"no whole request in {BODY_SECONDS_MAX:g} seconds") from error

    async def answer(self, document: Any) -> None:
        """Answer that it was done."""
        await self._answer(200, JSON, document, {})

    async def fail(self, failed: Failed) -> None:
        """Answer with a problem."""
        problem = failed.problem
        await self._answer(problem.status, PROBLEM, problem.document(failed.detail), failed.headers)

    async def _answer(self, status: int, kind: str, document: Any, headers: dict[str, str]) -> None:
        body = msgspec.json.encode(document)
        sent = {
            "content-type": kind,
            "content-length": str(len(body)),
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        pairs = [(name.encode(), value.encode()) for name, value in sent.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})
        await self._send({"type": "http.response.body", "body": body})


def _path(scope: Scope) -> str:
    # Some frameworks leave the place of the mount in the path, as ASGI says; others take it out.
    path, mounted = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    return path.removeprefix(mounted) if path.startswith(f"{mounted}/") else path
