"""A coordinator in a process of its own, which kills itself with SIGKILL where it does most harm."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from datetime import timedelta

from finality.adapters.system.environment import SystemEnvironment
from finality.cli.compare.place import place_at
from finality.cli.compare.stories import STORIES
from finality.cli.compare.way import Death
from finality.ports.environment import COMMIT_AFTER, COMMIT_BEFORE

CALM_SECONDS = 0.1  # A node that opens commits its lease twice; afterwards not for seconds.
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
        self._commits: Counter[str] = Counter()

    def reach(self, point: str) -> None:
        """Pass, or never return."""
        if point in (COMMIT_BEFORE, COMMIT_AFTER):
            self._commits[point] += 1
        if self.is_armed and self._ahead and point == self._ahead[0]:
            self._ahead.pop(0)
            if not self._ahead:
                self.die()

    async def calm(self) -> None:
        """Wait until nothing is committed: what the node does for itself is not where it shall die."""
        seen = -1
        while seen != self._commits.total() or self._commits[COMMIT_BEFORE] != self._commits[COMMIT_AFTER]:
            seen = self._commits.total()
            await asyncio.sleep(CALM_SECONDS)

    def die(self) -> None:
        """End as a power cut does: nothing in this process gets to run again."""
        os.kill(os.getpid(), signal.SIGKILL)


async def begin_and_die(
    story: str, way: str, is_finished: bool, spec: str, services: dict[str, str], id: str, seconds: float
) -> None:
    """Say that it is ready, wait for a line, do the case, and die on the way."""
    which = STORIES[story].way(way)
    death = which.finished if is_finished else which.worst
    world = Doomed(death)
    async with which.node(place_at(spec), services, world) as node:
        await node.opened()
        await which.ready(node)
        await world.calm()
        print(READY, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await which.ready(node)  # A machine that was busy for a lease may have given its part to another.
        world.is_armed = True
        await which.act(node, id, deadline=timedelta(seconds=seconds))
        if not death.path:
            world.die()
    print(SURVIVED, flush=True)


if __name__ == "__main__":
    asyncio.run(begin_and_die(**json.loads(sys.argv[1])))
