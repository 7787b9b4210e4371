"""Services on real sockets: run by uvicorn in the test's own loop, and a proxy that loses answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import uvicorn

import finality
import finality.http
from tests.integration.kit import eventually
from tests.integration.reservation_kit import SEATS, AsyncHold, Hold, ShortHold

TOKEN = "a-token-that-is-long-enough"
KINDS = (Hold, AsyncHold, ShortHold)


def play(story: Coroutine[Any, Any, None], seconds: float = 40.0) -> None:
    """Run *story* to its end, which comes soon."""

    async def bounded() -> None:
        async with asyncio.timeout(seconds):
            await story

    asyncio.run(bounded())


@contextlib.asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """Run an ASGI application on loopback; give its URL."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="none"))
    running = asyncio.ensure_future(server.serve())
    try:
        await eventually(lambda: server.started or running.done())
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


@contextlib.asynccontextmanager
async def seats_node(url: str, **settings: Any) -> AsyncIterator[finality.AsyncNode]:
    """Open a service's node, with seats."""
    async with finality.open_async(url, **settings) as node:
        for statement in SEATS:
            await node.run(lambda tx, statement=statement: tx.execute(statement))  # type: ignore[misc]  # mypy infers no default
        yield node


def app_of(node: finality.AsyncNode, **options: Any) -> Any:
    """Return the service's application."""
    return finality.http.participant(node, reservations=KINDS, tokens=[TOKEN], **options)


@contextlib.asynccontextmanager
async def booking(
    service: Any, *, environment: Any = None, url: str = "memory://"
) -> AsyncIterator[finality.AsyncNode]:
    """Open a node whose transactions may enlist the service."""
    async with finality.open_async(
        url, participants=[service], reservations=KINDS, environment=environment
    ) as node:
        for statement in SEATS:
            await node.run(lambda tx, statement=statement: tx.execute(statement))  # type: ignore[misc]  # mypy infers no default
        yield node


async def seats(node: finality.AsyncNode) -> str:
    """Return the states of a node's seats."""
    return " ".join(state for (state,) in await node.query("SELECT state FROM seat ORDER BY id"))


def service(url: str, **options: Any) -> Any:
    """Return the service as transactions know it."""
    return finality.service(url, name="seats", token=TOKEN, **options)


async def hold(node: finality.AsyncNode, at_seats: Any, seat: str = "1", **options: Any) -> None:
    """Hold a seat there, alone."""
    async with node.transaction(**options) as tx:
        await tx.reserve(Hold(seat), at=at_seats)


class Line:
    """A proxy in front of a service that can lose answers.

    Attributes:
        losing: How many requests that change something are still served and then cut off.
    """

    def __init__(self) -> None:
        self.losing = 0
        self.requests = 0
        self.url = ""
        self._port = 0

    @contextlib.asynccontextmanager
    async def to(self, url: str) -> AsyncIterator[Line]:
        """Stand in front of *url*."""
        self._port = int(url.rpartition(":")[2])
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            while request := await reader.read(65_536):
                self.requests += 1
                there_writer.write(request)
                answer = await there_reader.read(65_536)
                if self.losing and not request.startswith(b"GET"):
                    self.losing -= 1
                    return
                writer.write(answer)
                await writer.drain()
        finally:
            there_writer.close()
            writer.close()
