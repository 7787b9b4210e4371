"""A home whose reads take a while, as those of a database over a network do: much happens meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from finality.ports.environment import Environment
from finality.ports.home import Home
from finality.testing.places import MortalHome

READS = frozenset(
    {"changed", "children", "counts", "definition", "find", "head", "heads", "heads_of", "histories", "load"}
    | {"newest", "next_wake", "nodes", "outbox", "outbox_since", "page", "parked_events", "progress", "query"}
    | {"read", "streams"}
)  # fmt: skip
GLANCES_MAX = 3  # How often others run before and after a read that only gives way.
WAIT_SECONDS_MAX = 0.1  # Two looks long: turns commit, sagas are taken over.


def hesitant(home: MortalHome, environment: Environment, chance: float) -> MortalHome:
    """Return *home* with reads of which each gives way, and waits with this *chance*, before and after."""
    return home if chance == 0.0 else cast(MortalHome, _Hesitant(home, environment, chance))


class _Hesitant:
    def __init__(self, home: Home, environment: Environment, chance: float) -> None:
        self._home = home
        self._dice = environment.chance
        self._chance = chance

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._home, name)
        if name not in READS:
            return attribute

        async def read(*arguments: Any, **named: Any) -> Any:
            await self._hesitate()
            answer = await attribute(*arguments, **named)
            await self._hesitate()
            return answer

        return read

    async def _hesitate(self) -> None:
        for _ in range(int(self._dice() * (GLANCES_MAX + 1))):
            await asyncio.sleep(0)
        if self._dice() < self._chance:
            await asyncio.sleep(self._dice() * WAIT_SECONDS_MAX)
