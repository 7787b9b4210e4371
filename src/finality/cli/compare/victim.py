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
from finality.cli.compare.way import Death
from finality.cli.compare.ways import way_named
from finality.cli.compare.withdrawal import Order

READY, SURVIVED = "ready", "survived"


class Doomed(SystemEnvironment):
    """The world of production, until the moment comes.

    Attributes:
        is_armed: Whether it has begun to die.
    """

    def __init__(self, death: Death) -> None:
        super().__init__()
        self.is_armed = False
        self._ahead = list(death.path)

    def reach(self, point: str) -> None:
        """Pass, or never return."""
        if self.is_armed and point == self._ahead[0]:
            self._ahead.pop(0)
            if not self._ahead:
                os.kill(os.getpid(), signal.SIGKILL)


async def withdraw_and_die(
    way: str, is_finished: bool, spec: str, services: dict[str, str], order: str, seconds: float
) -> None:
    """Say that it is ready, wait for a line, withdraw, and die on the way."""
    which = way_named(way)
    world = Doomed(which.finished if is_finished else which.worst)
    async with which.node(place_at(spec), services, world) as node:
        await node.opened()
        print(READY, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        world.is_armed = True
        await which.withdraw(node, Order(order), deadline=timedelta(seconds=seconds))
    print(SURVIVED, flush=True)


if __name__ == "__main__":
    asyncio.run(withdraw_and_die(**json.loads(sys.argv[1])))
