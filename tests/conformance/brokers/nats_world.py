"""NATS JetStream: a server that syncs each event, shared by the session."""

from __future__ import annotations

import contextlib
from typing import Self

import nats
import pytest

import finality.testing
from finality.adapters.nats.broker import NatsBroker, broker
from finality.testing import NatsCluster


class NatsWorld:
    """Fulfils ``World``."""

    is_shared = is_durable = can_die = has_foreigners = True
    unsafe: tuple[str, ...] = ("storage", "sync")

    def __init__(self, server: NatsCluster) -> None:
        self._server = server
        self._others = contextlib.ExitStack()

    @classmethod
    def make(cls, request: pytest.FixtureRequest) -> Self:
        """Return the session's own server, empty or not."""
        return cls(request.getfixturevalue("finality_nats"))

    def broker(self) -> NatsBroker:
        """Return one more connection."""
        return broker(self._server.url)

    def code(self) -> str:
        """Return an expression that makes a connection."""
        return f"finality.adapters.nats.broker:broker({self._server.url!r})"

    def misset(self, word: str) -> NatsBroker:
        """Return a connection whose topics are in memory, or one to a server that syncs late."""
        if word == "storage":
            return broker(self._server.url.replace("storage=file", "storage=memory"))
        late = self._others.enter_context(finality.testing.nats(sync="2m"))
        return broker(late.url)

    async def publish_foreign(self, topic: str, body: bytes) -> None:
        """Publish the body alone, as ``nats publish`` does."""
        async with await nats.connect(self._server.url.partition("?")[0]) as client:
            await client.jetstream().publish(f"{topic}.0", body)

    def kill(self) -> None:
        """Kill the server."""
        self._server.kill()

    def start(self) -> None:
        """Start it again."""
        self._server.start()

    def close(self) -> None:
        """Stop the servers that were badly set up."""
        self._others.close()
