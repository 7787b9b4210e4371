"""How a saga is brought to its end while its node dies, or is paused for longer than its lease."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from finality.core.ids import TransactionId
from finality.node.async_node import AsyncNode
from finality.patterns.outcome import Handle, Outcome, OutcomeStatus
from finality.patterns.saga import Saga
from finality.testing.world import LEASE_SECONDS, Died, SimulatedNode, World, at_once

SAGA_ID = "crash-everywhere"
PAUSE_SECONDS = 5 * LEASE_SECONDS  # The other node notices, takes over, and has time to finish.
WAKE_SECONDS = 2 * LEASE_SECONDS  # What whoever wakes up may still try to do.

Meanwhile = Callable[[AsyncNode, Handle], Awaitable[object]]


class Client:
    """Whoever wants the saga done: asks again with the same id until somebody answers."""

    def __init__(self, saga: Saga, meanwhile: Meanwhile | None) -> None:
        self._saga = saga
        self._meanwhile = meanwhile
        self._is_started = False
        self._heard: list[OutcomeStatus] = []

    async def ask(self, node: SimulatedNode) -> Outcome:
        """Start the saga at *node*, or find it started, and wait for its end.

        Raises:
            Died: The node died first.
            AssertionError: What was acknowledged before is not so.
        """
        outcome = await node.ask(self._ask)
        self._heard.append(outcome.status)
        assert len(set(self._heard)) == 1, f"its end was heard as {self._heard[0].value}, then as another"
        return outcome

    async def _ask(self, node: AsyncNode) -> Outcome:
        handle = await node.start(self._saga, id=SAGA_ID)
        self._is_started = True
        if self._meanwhile is not None:
            await self._meanwhile(node, handle)
        return await handle.outcome()

    def check_kept(self, world: World) -> None:
        """See that what was acknowledged is durable."""
        is_kept = at_once(world.home.find(TransactionId(SAGA_ID))) is not None
        assert is_kept or not self._is_started, "its start was acknowledged, and it never began"


class Drill(Protocol):
    """One way to disturb a run."""

    places: list[str]
    """The crash points at which something happened."""

    passed: list[int]
    """How many crash points each life has passed."""

    async def run(self, world: World, client: Client) -> Outcome:
        """Bring the saga to its end."""
        ...

    def happened(self) -> str:
        """Say what was done to the node."""
        ...

    def replay(self) -> str:
        """Return the argument of ``crash_everywhere`` that does it again."""
        ...


class CrashDrill:
    """The node dies at the *n*-th crash point, and the next one at the point that follows in *at*."""

    def __init__(self, at: tuple[int, ...] = ()) -> None:
        self.at = at
        self.places: list[str] = []
        self.passed = [0]

    async def run(self, world: World, client: Client) -> Outcome:
        """Open a new node whenever the last one has died."""
        while True:
            node = world.open(dies_at=self._dies_at)
            try:
                outcome = await client.ask(node)
                await node.close()
            except Died:
                client.check_kept(world)
                continue
            return outcome

    def _dies_at(self, point: str) -> bool:
        life = len(self.passed) - 1
        self.passed[life] += 1
        if life < len(self.at) and self.passed[life] == self.at[life]:
            self.places.append(point)
            self.passed.append(0)
            return True
        return False

    def happened(self) -> str:
        """Say where it died."""
        if not self.places:
            return "its node died nowhere: this run was untouched"
        places = (f"at point {n} ({point})" for n, point in zip(self.at, self.places, strict=False))
        return f"its node died {', and the next one '.join(places)}"

    def replay(self) -> str:
        """Return the argument that does it again."""
        return f"only={self.at[: len(self.places)]!r}"


class PauseDrill:
    """The node is paused at the *n*-th crash point, another takes over, and then the first wakes up."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.places: list[str] = []
        self.passed = [0]
        self._paused: asyncio.Future[None] | None = None

    async def run(self, world: World, client: Client) -> Outcome:
        """Ask a second node once the first one is paused."""
        self._paused = paused = asyncio.get_running_loop().create_future()
        node = world.open(dies_at=lambda point: self._pauses_at(point, node))
        first = world.loop.world.spawn(client.ask(node))
        first.add_done_callback(lambda _: self._go_on())
        await paused
        if not self.places:
            outcome = await first
            await node.close()
            return outcome
        other = world.open()
        outcome = await client.ask(other)
        await asyncio.sleep(PAUSE_SECONDS + WAKE_SECONDS)
        await first
        for each in (node, other):
            await each.close()
        return outcome

    def _pauses_at(self, point: str, node: SimulatedNode) -> bool:
        self.passed[0] += 1
        if self.passed[0] == self.at:
            self.places.append(point)
            node.pause(PAUSE_SECONDS)
            self._go_on()
        return False

    def _go_on(self) -> None:
        if self._paused is not None and not self._paused.done():
            self._paused.set_result(None)

    def happened(self) -> str:
        """Say where it was paused."""
        if not self.places:
            return "its node was never paused: this run was untouched"
        return f"its node was paused at point {self.at} ({self.places[0]}) for longer than its lease"

    def replay(self) -> str:
        """Return the argument that does it again."""
        return f"only_paused={self.at}"
