"""A service over HTTP as the suite's surroundings: it runs in a thread of its own, for each test anew."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any, Self

import pytest
import uvicorn

import finality
import finality.http
from tests.conformance.participants.reservation_world import Item, ReservationWorld
from tests.integration.kit import eventually

TOKEN = "a-token-that-is-long-enough"


class ServiceWorld(ReservationWorld):
    """Fulfils ``World``."""

    insert_code = 'branch.reserve("Item", {"n": 1})'

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.url = ""
        self._server: uvicorn.Server
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._started.wait(20), "the service has not started"

    @classmethod
    def make(cls, request: pytest.FixtureRequest) -> Self:
        return cls(request.getfixturevalue("tmp_path"))

    async def _serve(self) -> None:
        node = finality.open_async(f"sqlite:///{self.path}")
        app = finality.http.participant(node, reservations=[Item], tokens=[TOKEN])
        self._server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="none"))
        serving = asyncio.ensure_future(self._server.serve())
        await eventually(lambda: self._server.started)
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"
        self._started.set()
        await serving

    def participant(self, name: str = "bank") -> Any:
        return finality.service(self.url, name=name, token=TOKEN)

    def code(self) -> str:
        return f"finality.service({self.url!r}, name='bank', token={TOKEN!r})"

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
