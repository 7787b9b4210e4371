"""Circuit breakers: shared by all nodes, because each is a stream of the journal."""

from __future__ import annotations

import asyncio

from finality.core.breaker import (
    EMPTY,
    Breaker,
    BreakerPolicy,
    BreakerSignal,
    CallFailed,
    CallSucceeded,
    CallWanted,
    Tally,
    decide,
    evolve,
)
from finality.core.errors import VersionConflict
from finality.core.ids import StreamName, Version
from finality.core.protocol import fold
from finality.runtime.context import Context

BREAKER_PREFIX = "breaker/"


class Breakers:
    """The breakers as this node knows them. Each question looks at what others have appended."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: dict[str, tuple[Breaker, Version]] = {}
        self._tallies: dict[str, Tally] = {}
        self._probes: dict[str, asyncio.Future[None]] = {}

    async def open_until(self, name: str, policy: BreakerPolicy) -> float | None:
        """Return None if the caller may call now, and otherwise when it may ask again.

        While another saga of this node probes the participant, this waits for what comes of it.
        """
        context = self._context
        while True:
            now = context.environment.now()
            breaker = await self._tell(name, policy, CallWanted(context.node, now))
            if breaker.is_closed:
                return None
            assert breaker.until is not None, f"breaker {name} is open until then"
            if not breaker.may_call(context.node, now):
                return breaker.until
            probe = self._probes.get(name)
            if probe is None:
                self._probes[name] = asyncio.get_running_loop().create_future()
                return None
            await asyncio.wait([probe], timeout=breaker.until - now)
            if not probe.done():
                self._probed(name)  # It has taken too long: the next one may try.

    def _probed(self, name: str) -> None:
        probe = self._probes.pop(name, None)
        if probe is not None and not probe.done():
            probe.set_result(None)

    async def succeeded(self, name: str, policy: BreakerPolicy) -> None:
        """Hear that a call worked, which closes a breaker that was being probed."""
        self._tallies[name] = EMPTY
        try:
            if not self._known.get(name, (Breaker(policy), 0))[0].is_closed:
                await self._tell(name, policy, CallSucceeded(self._context.node))
        finally:
            self._probed(name)

    async def failed(self, name: str, policy: BreakerPolicy, because: str) -> None:
        """Hear that a call failed, which may open the breaker."""
        now = self._context.environment.now()
        tally = self._tallies[name] = self._tallies.get(name, EMPTY).failed(now, policy)
        try:
            breaker = await self._tell(name, policy, CallFailed(self._context.node, now, because, tally))
        finally:
            self._probed(name)
        if not breaker.is_closed:
            self._tallies[name] = EMPTY

    async def _tell(self, name: str, policy: BreakerPolicy, signal: BreakerSignal) -> Breaker:
        stream = StreamName(BREAKER_PREFIX + name)
        while True:
            breaker, version = await self._read(stream, name, policy)
            events = decide(breaker, signal)
            if not events:
                return breaker
            try:
                version = await self._context.home.append(stream, events, expected=version)
            except VersionConflict:
                continue  # Another node was first: decide again on what it wrote.
            breaker = fold(evolve, breaker, events)
            self._known[name] = (breaker, version)
            return breaker

    async def _read(self, stream: StreamName, name: str, policy: BreakerPolicy) -> tuple[Breaker, Version]:
        breaker, version = self._known.get(name, (Breaker(policy), Version(0)))
        for recorded in await self._context.home.read(stream, after=version):
            breaker, version = evolve(breaker, recorded.event), recorded.version
        self._known[name] = (breaker, version)
        return breaker, version
