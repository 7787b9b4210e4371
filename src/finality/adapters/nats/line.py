"""The line to a NATS cluster: one connection, which comes back by itself, and no wait without an end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error
from nats.js import JetStreamContext

from finality.adapters.nats.address import Address
from finality.adapters.refusals import CHECK_LOGIN, NAME_AUTHORITY, is_untrusted
from finality.core.errors import Unavailable

OPEN_SECONDS_MAX = 5.0
OPEN_ATTEMPTS_MAX = 2  # A server.
ANSWER_SECONDS_MAX = 5.0  # What a leader that has died was asked is lost; ask the next one soon.
RECONNECT_SECONDS = 0.1  # Between attempts to connect again.

ERRORS = (Error, OSError, TimeoutError)
AUTHORIZATION_VIOLATION = "authorization violation"  # In the words of the server.


class Line:
    """A connection.

    Attributes:
        client: The library's own.
        has_opened: It was connected once; from then on it connects again for ever.
        on_return: Called when the connection is there again.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.client = Client()
        self.has_opened = False
        self.on_return: list[Callable[[], None]] = []
        self._limits: set[asyncio.Timeout] = set()

    @property
    def streams(self) -> JetStreamContext:
        """Return the client of JetStream."""
        return self._streams

    async def open(self) -> None:
        """Connect.

        Raises:
            Unavailable: The cluster is out of reach, or lets nobody in.
        """
        problems: list[Exception] = []

        async def count(problem: Exception) -> None:
            """The library never gives up; whoever opens does, when no server has answered twice."""
            problems.append(problem)
            attempts_max = OPEN_ATTEMPTS_MAX * len(self.address.servers)
            is_final = len(problems) >= attempts_max or is_untrusted(problem)
            if is_final and not self.has_opened:
                raise self.unavailable(problem) from problem

        try:
            async with asyncio.timeout(OPEN_SECONDS_MAX):
                await self.client.connect(
                    [*self.address.servers],
                    name="finality",
                    error_cb=count,
                    disconnected_cb=self._is_lost,
                    reconnected_cb=self._is_back,
                    connect_timeout=2,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=RECONNECT_SECONDS,  # type: ignore[arg-type]  # It sleeps so long.
                    skip_subject_validation=True,  # Ours are made of names that were checked.
                    **self.address.login(),
                )
        except (Unavailable, *ERRORS) as error:
            await self.close()
            if isinstance(error, Unavailable):
                raise
            # What the library has met on its way says more than that it took too long.
            raise self.unavailable(problems[-1] if problems else error) from error
        self.has_opened = True
        self._streams = self.client.jetstream(timeout=ANSWER_SECONDS_MAX)

    def unavailable(self, problem: BaseException) -> Unavailable:
        """Return the error that *problem* is to a caller."""
        because = str(problem) or type(problem).__name__
        return Unavailable(f"broker {self.address.name} is unavailable: {because}; {_advice(problem)}")

    @asynccontextmanager
    async def asking(self, seconds: float = ANSWER_SECONDS_MAX) -> AsyncIterator[None]:
        """Bound what is asked inside; it ends at once when the connection does.

        Raises:
            Unavailable: The cluster is out of reach, or does not answer in time.
        """
        if not self.client.is_connected:
            raise self.unavailable(ConnectionError("there is no connection at this time"))
        try:
            async with asyncio.timeout(seconds) as limit:
                self._limits.add(limit)
                try:
                    yield
                finally:
                    self._limits.discard(limit)
        except ERRORS as error:
            raise self.unavailable(error) from error

    async def ask(self, subject: str, data: bytes, headers: dict[str, str] | None = None) -> Msg:
        """Return the answer.

        Raises:
            Unavailable: There is none in time.
        """
        async with self.asking():
            return await self.client.request(subject, data, ANSWER_SECONDS_MAX, headers=headers)

    async def _is_lost(self) -> None:
        now = asyncio.get_running_loop().time()
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(now)

    async def _is_back(self) -> None:
        for call in self.on_return:
            call()

    async def close(self) -> None:
        """Let go."""
        with suppress(*ERRORS):  # A server that has gone needs no farewell.
            async with asyncio.timeout(OPEN_SECONDS_MAX):
                await self.client.close()


def _advice(problem: BaseException) -> str:
    """Return what to do about a problem."""
    if AUTHORIZATION_VIOLATION in str(problem).lower():
        return CHECK_LOGIN
    if isinstance(problem, BrokenPipeError | ConnectionResetError):  # Before its last word was read, perhaps.
        return f"see that it runs, and {CHECK_LOGIN}"
    if is_untrusted(problem):
        return NAME_AUTHORITY
    return "see that it runs, then ask again"


async def connect_as(address: Address, user: str, password: str) -> Client:
    """Return a connection of another user's."""
    return await nats.connect([*address.servers], user=user, password=password, allow_reconnect=False)
