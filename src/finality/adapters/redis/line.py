"""The line to a Redis or Valkey server: no wait without an end, no attempt that the caller does not see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError

from finality.adapters.redis.address import Address
from finality.adapters.refusals import CHECK_LOGIN, NAME_AUTHORITY, is_untrusted
from finality.core.errors import DefinitionError, Unavailable

OPEN_SECONDS_MAX = 5.0
ANSWER_SECONDS_MAX = 5.0
CONNECTIONS_MAX = 16

ERRORS = (RedisError, OSError, TimeoutError)


class Line:
    """Connections to a server.

    Attributes:
        client: The library's own.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.client = self.connect(ANSWER_SECONDS_MAX, max_connections=CONNECTIONS_MAX)

    def connect(self, answer_seconds: float, **options: Any) -> Redis:
        """Return a client that waits so long for an answer; it connects when it is first used."""
        client: Redis = Redis.from_url(
            self.address.url,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=OPEN_SECONDS_MAX,
            socket_timeout=answer_seconds,
            client_name="finality",
            **options,
        )
        return client

    async def open(self) -> None:
        """Connect.

        Raises:
            Unavailable: The server is out of reach, or lets nobody in.
            DefinitionError: It is a part of a Redis Cluster.
        """
        with self.asking():
            found = await self.client.info("cluster")
        if found.get("cluster_enabled"):
            await self.close()
            raise DefinitionError(
                f"broker {self.address.name} is part of a Redis Cluster: a topic is many keys, spread there "
                "over servers that cannot be read in one call; use one server with replicas"
            )

    def unavailable(self, problem: BaseException) -> Unavailable:
        """Return the error that *problem* is to a caller."""
        because = str(problem) or type(problem).__name__
        advice = "see that it runs, then ask again"
        if isinstance(problem, AuthenticationError):
            advice = CHECK_LOGIN
        elif is_untrusted(problem):
            advice = NAME_AUTHORITY
        return Unavailable(f"broker {self.address.name} is unavailable: {because}; {advice}")

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Say what the library's errors mean.

        Raises:
            Unavailable: The server is out of reach, does not answer in time, or will not.
        """
        try:
            yield
        except ERRORS as error:
            raise self.unavailable(error) from error

    async def close(self) -> None:
        """Let go."""
        await self.client.aclose()
