"""Valkey, which speaks Redis: a server that syncs each event, shared by the session."""

from __future__ import annotations

import contextlib
from typing import Self

import pytest
import redis

import finality.testing
from finality.adapters.redis.broker import RedisBroker, broker
from finality.adapters.redis.wire import stream_key
from finality.testing import ValkeyServer


class RedisWorld:
    """Fulfils ``World``."""

    is_shared = is_durable = can_die = has_foreigners = True
    unsafe: tuple[str, ...] = ("appendonly", "appendfsync", "maxmemory-policy")

    def __init__(self, server: ValkeyServer) -> None:
        self._server = server
        self._others = contextlib.ExitStack()

    @classmethod
    def make(cls, request: pytest.FixtureRequest) -> Self:
        """Return the session's own server, empty or not."""
        return cls(request.getfixturevalue("finality_valkey"))

    def broker(self) -> RedisBroker:
        """Return one more connection."""
        return broker(self._server.url)

    def code(self) -> str:
        """Return an expression that makes a connection."""
        return f"finality.adapters.redis.broker:broker({self._server.url!r})"

    def misset(self, word: str) -> RedisBroker:
        """Return a connection to a server with the setting that everybody warns of."""
        bad = {"appendonly": "no", "appendfsync": "everysec", "maxmemory-policy": "allkeys-lru"}
        server = finality.testing.valkey(settings={word: bad[word]})
        return broker(self._others.enter_context(server).url)

    async def publish_foreign(self, topic: str, body: bytes) -> None:
        """Publish the body alone, in a field of any name."""
        with redis.Redis.from_url(self._server.url) as client:
            client.xadd(stream_key(topic, 0), {"body": body})

    def kill(self) -> None:
        """Kill the server."""
        self._server.kill()

    def start(self) -> None:
        """Start it again."""
        self._server.start()

    def close(self) -> None:
        """Stop the servers that were badly set up."""
        self._others.close()
