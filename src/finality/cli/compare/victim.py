"""A coordinator in a process of its own, which kills itself with SIGKILL where it does most harm."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from datetime import timedelta

from finality.adapters.system.environment import SystemEnvironment
from finality.cli.compare.place import place_at
from finality.cli.compare.way import SILENCE, Death
from finality.cli.compare.ways import way_named
from finality.cli.compare.withdrawal import Order

READY, SURVIVED = "ready", "survived"


class Doomed(SystemEnvironment):
    """The world of production, until the moment comes.

    Attributes:
        is_armed: Whether passes of the crash point count.
    """

    def __init__(self, death: Death) -> None:
        super().__init__()
        self.is_armed = False
        self._death = death
        self._passes = 0

    def reach(self, point: str) -> None:
        """Pass, or never return."""
        if self.is_armed and point == self._death.point:
            self._passes += 1
            if self._passes == self._death.passes:
                os.kill(os.getpid(), signal.SIGKILL)


async def withdraw_and_die(
    name: str, spec: str, services: dict[str, str], order: str, seconds: float
) -> None:
    """Say that it is ready, wait for a line, withdraw, and die on the way."""
    way = way_named(name)
    world = Doomed(way.worst)
    async with way.node(place_at(spec), services, world, lease=SILENCE) as node:
        await node.opened()
        print(READY, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        world.is_armed = True
        await way.withdraw(node, Order(order), deadline=timedelta(seconds=seconds))
    print(SURVIVED, flush=True)


if __name__ == "__main__":
    asyncio.run(withdraw_and_die(**json.loads(sys.argv[1])))
