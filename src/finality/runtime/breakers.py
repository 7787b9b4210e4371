"""Circuit breakers: shared by all nodes, because each is a stream of the journal."""

from __future__ import annotations

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

    async def open_until(self, name: str, policy: BreakerPolicy) -> float | None:
        """Return None if the node may call now, and otherwise when it may ask again."""
        context = self._context
        now = context.environment.now()
        breaker = await self._tell(name, policy, CallWanted(context.node, now))
        return None if breaker.may_call(context.node, now) else breaker.until

    async def succeeded(self, name: str, policy: BreakerPolicy) -> None:
        """Hear that a call worked, which closes a breaker that was being probed."""
        self._tallies[name] = EMPTY
        await self._tell(name, policy, CallSucceeded(self._context.node))

    async def failed(self, name: str, policy: BreakerPolicy, because: str) -> None:
        """Hear that a call failed, which may open the breaker."""
        now = self._context.environment.now()
        tally = self._tallies[name] = self._tallies.get(name, EMPTY).failed(now, policy)
        breaker = await self._tell(name, policy, CallFailed(self._context.node, now, because, tally))
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
