"""The line to RabbitMQ: a connection that is made again when it is lost, and no wait without an end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    AMQPError,
    AuthenticationError,
    ProbableAuthenticationError,
)

from finality.adapters.client_log import ClientLog
from finality.adapters.rabbitmq.address import Address
from finality.adapters.refusals import CHECK_LOGIN, NAME_AUTHORITY, is_untrusted
from finality.core.errors import FinalityError, Unavailable

CLIENT_LOG = ClientLog("aiormq")
ANSWER_SECONDS_MAX = 5.0  # A healthy node answers in milliseconds; whoever asks, asks again.
CLOSE_SECONDS_MAX = 1.0  # A node that is blocked does not even let a channel go.
HEARTBEAT_SECONDS = 10  # A node that says nothing for twice as long is taken for gone.


class Line:
    """A connection, and channels on it."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._connection: AbstractConnection | None = None
        self._connecting = asyncio.Lock()

    async def connected(self) -> AbstractConnection:
        """Return the connection, made anew if it was lost.

        Raises:
            Unavailable: The node is out of reach, or lets nobody in.
        """
        async with self._connecting:
            if is_lost(self._connection):
                async with answered(self.address.name, "is out of reach"):
                    self._connection = await aio_pika.connect(
                        self.address.url, timeout=ANSWER_SECONDS_MAX, heartbeat=HEARTBEAT_SECONDS
                    )
            assert self._connection is not None, "it was connected"
            return self._connection

    async def channel(self, *, prefetch: int = 0) -> AbstractChannel:
        """Return a channel of one's own.

        Raises:
            Unavailable: The node is out of reach.
        """
        connection = await self.connected()
        async with answered(self.address.name, "gives no channel"):
            channel = connection.channel(on_return_raises=True)
            await channel.initialize()
            if prefetch:
                await channel.set_qos(prefetch_count=prefetch)
            return channel

    @contextlib.asynccontextmanager
    async def turn(
        self, what: str, *, prefetch: int = 0, seconds: float = ANSWER_SECONDS_MAX
    ) -> AsyncIterator[AbstractChannel]:
        """Give a channel for a few questions; *what* an error says that the node did not do.

        Raises:
            Unavailable: It did not answer.
        """
        channel = await self.channel(prefetch=prefetch)
        try:
            async with answered(self.address.name, what, seconds=seconds):
                yield channel
        finally:
            await closed(channel)

    async def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(TimeoutError, *CONNECTION_EXCEPTIONS):  # It is gone either way.
                async with asyncio.timeout(CLOSE_SECONDS_MAX):
                    await connection.close()


def is_lost(connection: AbstractConnection | None) -> bool:
    """Say whether nothing can be asked on a connection any more; its transport knows first."""
    if connection is None or connection.is_closed:
        return True
    return connection.transport is None or connection.transport.connection.is_closed


async def closed(channel: AbstractChannel) -> None:
    """Let a channel go."""
    with contextlib.suppress(TimeoutError, *CONNECTION_EXCEPTIONS):  # It is gone either way.
        async with asyncio.timeout(CLOSE_SECONDS_MAX):
            await channel.close()


@contextlib.asynccontextmanager
async def answered(name: str, what: str, *, seconds: float = ANSWER_SECONDS_MAX) -> AsyncIterator[None]:
    """Wait for the node's answer, so long and no longer.

    Raises:
        Unavailable: It did not answer, or has an error of its own.
    """
    try:
        with CLIENT_LOG.about(name):
            async with asyncio.timeout(seconds):
                yield
    except FinalityError:
        raise
    except TimeoutError as error:
        raise Unavailable(f"{name} {what}: no answer in {seconds:g} seconds; try again") from error
    except (AuthenticationError, ProbableAuthenticationError) as error:
        raise Unavailable(f"{name} {what}: {error}; {CHECK_LOGIN}") from error
    except (AMQPError, OSError, RuntimeError) as error:  # The last is what a closed connection raises.
        advice = NAME_AUTHORITY if is_untrusted(error) else "try again"
        raise Unavailable(f"{name} {what}: {type(error).__name__} {error}; {advice}") from error
