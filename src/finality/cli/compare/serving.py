"""Serves an ASGI application on loopback with what the extra ``http`` installs: aiohttp."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

STOP_SECONDS = 0.5  # Whoever asks is of this machine, and asks nothing any more.


@contextlib.asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """Serve *app* inside the block; give its URL."""

    async def answer(request: web.BaseRequest) -> web.Response:
        return await _answer(app, request)

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=STOP_SECONDS)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _answer(app: Any, request: web.BaseRequest) -> web.Response:
    """Carry one request to the application and its answer back."""
    body = await request.read()
    said: dict[str, Any] = {}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(event: dict[str, Any]) -> None:
        if event["type"] == "http.response.start":
            said.update(status=event["status"], headers=event.get("headers", ()))
        else:
            said["body"] = said.get("body", b"") + event.get("body", b"")

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.path,
        "raw_path": request.raw_path.partition("?")[0].encode(),
        "query_string": request.query_string.encode(),
        "headers": [(name.lower(), value) for name, value in request.raw_headers],
    }
    await app(scope, receive, send)
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in said["headers"]]
    return web.Response(status=said["status"], body=said.get("body", b""), headers=headers)
