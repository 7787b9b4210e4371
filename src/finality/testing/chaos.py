"""Everything that goes wrong in a simulation, at rates that the seed draws.

```
    fault phase                                   heal         drain
    kill · crash · pause · stop · outage · skew   ────▶ no more ────▶ every transaction has ended
```

Some seeds draw rates of 0: what only ever runs in trouble is not tested for a quiet day.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field, fields

from finality.core.errors import FinalityError, Refused
from finality.node.async_node import AsyncNode
from finality.testing.disk import SimulatedDisk
from finality.testing.places import Place
from finality.testing.service import ServiceFaults
from finality.testing.world import Died, SimulatedNode, World

BEAT_SECONDS = 0.1  # How often it is drawn what goes wrong next.


class Stumbled(Exception):
    """A step fails because the simulation says so; trying again may work."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How often what goes wrong. Times are in simulated seconds.

    Attributes:
        nodes: How many nodes there are, most of the time.
        crash: Per crash point, the chance to die there.
        kill: Per node and second.
        stop: Per node and second: it closes in good order.
        pause: Per node and second.
        pause_seconds_max: More than a lease, so that others take over meanwhile.
        outage: Per store and second: it cannot be reached for a while.
        skew_seconds_max: How far the nodes' clocks are apart.
        stumble: Per step, the chance to fail for a technical reason.
        refuse: Per step that may refuse, the chance to do so.
        slow: Per step that may take time, the chance to take long.
        cancel: Per transaction, the chance that somebody cancels it.
        power: Per second, where there is a disk: the power fails.
        disk: Per second, where there is a disk: a write or a flush fails.
        hesitation: Per read of the home, the chance that it takes a while, as over a network.
    """

    nodes: int = 1
    crash: float = 0.0
    kill: float = 0.0
    stop: float = 0.0
    pause: float = 0.0
    pause_seconds_max: float = 3.0
    outage: float = 0.0
    outage_seconds_max: float = 1.0
    skew_seconds_max: float = 0.0
    stumble: float = 0.0
    refuse: float = 0.0
    slow: float = 0.0
    cancel: float = 0.0
    power: float = 0.0
    disk: float = 0.0
    hesitation: float = 0.0
    service: ServiceFaults = field(default_factory=ServiceFaults)

    @classmethod
    def drawn(cls, seed: int) -> Rates:
        """Return what *seed* draws; each tenth seed has no faults at all."""
        dice = random.Random(f"{seed} rates")  # A simulation wants repeatable dice.
        if seed % 10 == 0:
            return cls(nodes=1 + int(dice.random() * 3), hesitation=0.3 if seed % 20 == 0 else 0.0)

        def rate(most: float) -> float:
            # Half of the rates are 0, so that faults come alone as well as together.
            return dice.random() ** 2 * most if dice.random() < 0.5 else 0.0

        return cls(
            nodes=1 + int(dice.random() * 4),
            crash=rate(0.02),
            kill=rate(0.5),
            stop=rate(0.5),
            pause=rate(0.5),
            outage=rate(0.3),
            skew_seconds_max=rate(2.0),
            stumble=rate(0.4),
            refuse=rate(0.3),
            slow=rate(0.2),
            cancel=rate(0.3),
            service=ServiceFaults(
                lost=rate(0.3),
                answer_lost=rate(0.3),
                late=rate(0.2),
                doubled=rate(0.3),
                seconds_max=rate(0.2),
            ),
            power=rate(0.5),
            disk=rate(0.5),
            hesitation=rate(0.5),
        )

    def __str__(self) -> str:
        parts = [f"{f.name}={_short(value)}" for f in fields(self) if (value := getattr(self, f.name))]
        return " ".join(part for part in parts if not part.startswith("service=ServiceFaults()"))


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace(" ", "")


class Chaos:
    """Lets things go wrong in a world until it is healed.

    Attributes:
        counts: What went wrong how often.
        is_healed: Whether it has stopped.
    """

    def __init__(self, world: World, rates: Rates, disk: SimulatedDisk | None = None) -> None:
        self.world = world
        self._disk = disk
        self.rates = rates
        self.counts: Counter[str] = Counter()
        self.is_healed = False
        self._dice = random.Random(f"{world.seed} chaos")  # A simulation wants repeatable dice.

    # ── Nodes come and go ───────────────────────────────────────────────────────────────────

    @property
    def alive(self) -> list[SimulatedNode]:
        """Return the nodes that live, paused ones included."""
        return [node for node in self.world.nodes if node.is_alive]

    def any_node(self) -> SimulatedNode | None:
        """Return one of the nodes that live, if any does."""
        alive = self.alive
        return alive[int(self._dice.random() * len(alive))] if alive else None

    async def open(self) -> None:
        """Open one more node; if that cannot be, it is as if it had never been."""
        skew = (self._dice.random() * 2 - 1) * self.rates.skew_seconds_max
        node = self.world.open(dies_at=self._dies_at, skew=skew)
        try:
            await node.ask(_opened)
        except Died:
            return
        except FinalityError:
            node.kill()

    def _dies_at(self, point: str) -> bool:
        return self._happens(f"crash at {point}", self.rates.crash)

    async def run(self) -> None:
        """Let things go wrong until ``heal``."""
        while not self.is_healed:
            if len(self.alive) < self.rates.nodes and self._dice.random() < 0.3:
                await self.open()
            for node in self.alive:
                self._disturb(node)
            for name, place in self.world.places.items():
                self._cut_off(name, place)
            if self._disk is not None:
                self._trouble(self._disk)
            await asyncio.sleep(BEAT_SECONDS)

    def _disturb(self, node: SimulatedNode) -> None:
        rates = self.rates
        if self._happens("kill", rates.kill * BEAT_SECONDS):
            node.kill()
        elif self._happens("pause", rates.pause * BEAT_SECONDS):
            node.pause(self._dice.random() * rates.pause_seconds_max)
        elif self._happens("stop", rates.stop * BEAT_SECONDS):
            self.world.loop.world.spawn(_stop(node))

    def _cut_off(self, name: str, place: Place) -> None:
        if place.is_out or not self._happens(f"outage of {name}", self.rates.outage * BEAT_SECONDS):
            return
        place.is_out = True
        seconds = self._dice.random() * self.rates.outage_seconds_max
        self.world.loop.call_later(seconds, setattr, place, "is_out", False)

    def _trouble(self, disk: SimulatedDisk) -> None:
        if disk.failed_in is not None:
            # Its store cannot know what was written. It says so and wants to be started again.
            disk.failed_in.kill()
            disk.failed_in = None
        if self._happens("disk error", self.rates.disk * BEAT_SECONDS):
            disk.fails_at = disk.operations + 1 + int(self._dice.random() * 20)
        if self._happens("power failure", self.rates.power * BEAT_SECONDS):
            disk.fail_power()
            for node in self.alive:
                node.kill()
            self.world.let_go()
            self.counts["lost writes"] += disk.restore_power()

    def heal(self) -> None:
        """Let nothing go wrong any more."""
        self.is_healed = True
        if self._disk is not None:
            self._disk.fails_at = None
            if self._disk.failed_in is not None:
                self._disk.failed_in.kill()
        for place in self.world.places.values():
            place.is_out = False

    # ── Steps go wrong ──────────────────────────────────────────────────────────────────────

    def stumble(self, *, may_refuse: bool = True) -> None:
        """Fail or refuse, perhaps: call it anywhere in a step.

        Raises:
            Stumbled: For a technical reason.
            Refused: For a business reason.
        """
        if self._happens("stumble", self.rates.stumble):
            raise Stumbled("the simulation says so")
        if may_refuse and self._happens("refusal", self.rates.refuse):
            raise Refused("the simulation says so")

    async def dawdle(self, seconds_max: float) -> None:
        """Take long, perhaps."""
        if self._happens("slow step", self.rates.slow):
            await asyncio.sleep(self._dice.random() * seconds_max)

    def chance(self) -> float:
        """Return a random number from 0 up to 1, for the workload's own choices."""
        return self._dice.random()

    def _happens(self, fault: str, rate: float) -> bool:
        if self.is_healed or rate <= 0.0 or self._dice.random() >= rate:
            return False
        self.counts[fault] += 1
        return True


async def _opened(node: AsyncNode) -> None:
    await node.opened()


async def _stop(node: SimulatedNode) -> None:
    try:
        await node.close()
    except (Died, FinalityError):
        node.kill()
