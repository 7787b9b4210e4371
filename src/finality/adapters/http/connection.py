"""Calls to a service, told apart by what the caller may assume: answered, not sent, or lost."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from finality.adapters.http.words import BY_CODE, JSON, RESPONSE_BYTES_MAX, Problem
from finality.core.backoff import Retry
from finality.core.errors import Unavailable
from finality.ports.environment import Environment

CONNECTIONS_MAX = 100  # Calls at once; others wait for a connection.
CONNECT_SECONDS = 2.0  # On a network that works it takes milliseconds.
RETRY = Retry(attempts=4, first_seconds=0.05, cap_seconds=0.5)  # About half a second of waits in all.
TRANSIENT = frozenset({Problem.TOO_SLOW, Problem.UNAVAILABLE, Problem.UNKNOWN})


class Lost(Exception):
    """Nobody knows whether the service has done it."""


class NotSent(Lost):
    """No connection came about: the service has not heard of it."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a service answered: a document, or a problem."""

    document: dict[str, Any] = field(default_factory=dict)
    problem: Problem | None = None

    @property
    def detail(self) -> str:
        """Return what it says about the problem."""
        return str(self.document.get("detail", ""))


class Connection:
    """The connections to one service. Every call of the protocol may be repeated."""

    def __init__(self, url: str, token: str | None, seconds: float) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Accept": JSON}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._seconds = seconds
        self._environment: Environment | None = None
        self._session: aiohttp.ClientSession | None = None

    def open(self, environment: Environment) -> None:
        """Belong to the running event loop."""
        self._environment = environment
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
            timeout=aiohttp.ClientTimeout(total=self._seconds, connect=CONNECT_SECONDS),
            headers=self._headers,
            auto_decompress=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(self, method: str, path: str, body: Any = None, *, retry: Retry = RETRY) -> Reply:
        """Call until there is an answer that will not be another soon.

        Raises:
            NotSent: The service has heard of none of the calls.
            Lost: Nobody knows whether it has done what it was asked.
        """
        assert self._environment is not None, "the node opens its participants"
        data = None if body is None else msgspec.json.encode(body)
        attempt, was_sent = 1, False
        while True:
            try:
                reply = await self._once(method, path, data)
            except Lost as lost:
                was_sent = was_sent or not isinstance(lost, NotSent)
                if retry.is_exhausted(attempt):
                    raise Lost(str(lost)) if was_sent else lost from lost
            else:
                if reply.problem not in TRANSIENT or retry.is_exhausted(attempt):
                    if was_sent and reply.problem not in (None, Problem.REFUSED):
                        raise Lost(f"an answer was lost, and then came: {reply.detail}")
                    return reply
                was_sent = was_sent or reply.problem is Problem.UNKNOWN
            await asyncio.sleep(retry.delay_seconds(attempt, self._environment.chance()))
            attempt += 1

    async def _once(self, method: str, path: str, data: bytes | None) -> Reply:
        if self._session is None:
            raise Unavailable(f"{self.url} is not called any more: the node is closed")
        headers = {} if data is None else {"Content-Type": JSON}
        try:
            async with self._session.request(
                method,
                URL(self.url + path, encoded=True),
                data=data,
                headers=headers,
                allow_redirects=False,
            ) as response:
                content = await self._content(response)
                return _reply(response.status, content)
        except aiohttp.ClientConnectorError as error:
            raise NotSent(f"{self.url} cannot be reached: {error.os_error.strerror or error}") from error
        except aiohttp.ConnectionTimeoutError as error:
            raise NotSent(f"{self.url} cannot be reached: no connection in {CONNECT_SECONDS:g} s") from error
        except TimeoutError as error:
            raise Lost(f"{self.url} has not answered within {self._seconds:g} seconds") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Lost(f"the connection to {self.url} broke: {type(error).__name__}") from error

    async def _content(self, response: aiohttp.ClientResponse) -> bytes:
        content = bytearray()
        async for chunk in response.content.iter_any():
            content += chunk
            if len(content) > RESPONSE_BYTES_MAX:
                raise Lost(f"{self.url} has answered with more than {RESPONSE_BYTES_MAX:,} bytes")
        return bytes(content)


def _reply(status: int, content: bytes) -> Reply:
    """Return what an answer means; what a proxy between us says about itself means nothing."""
    try:
        document = msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Lost(f"it has answered {status} with what is no answer of the protocol") from None
    if status == 200:
        return Reply(document)
    problem = BY_CODE.get(str(document.get("code")))
    if problem is None or problem.status != status:
        raise Lost(f"it has answered {status}, which is no answer of the protocol")
    return Reply(document, problem)
