"""A world of simulated nodes: their processes, their clocks, and the databases that outlive them.

```
    node a ─┐                            ┌─ home      what is committed there is there when a
    node b ─┼─ one loop, simulated time ─┤            new node opens it, and nothing else is
    client ─┘                            └─ bank, …
```
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

from finality.adapters.msgspec.codec import JsonCodec
from finality.adapters.msgspec.seal import secret_keys_of
from finality.core.ids import Cursor
from finality.core.saga.summary import NEVER
from finality.node.async_node import AsyncNode, Settings
from finality.node.opening import SECRET_KEY_VARIABLE
from finality.patterns.reaction import Reaction
from finality.patterns.saga import Saga
from finality.patterns.transaction import FunctionTurn
from finality.ports.broker import Broker
from finality.ports.codec import Codec
from finality.ports.environment import Environment
from finality.ports.store import Rows
from finality.ports.tracing import NO_TRACING
from finality.runtime.reactions import INBOX_KEPT_SECONDS
from finality.runtime.relay import OUTBOX_KEPT_SECONDS
from finality.testing.environment import Reached, SimulatedEnvironment
from finality.testing.hesitation import hesitant
from finality.testing.loop import Idle, new_loop
from finality.testing.places import MemoryPlace, MortalHome, MortalStore, Place, SqlitePlace
from finality.testing.process import Process

T = TypeVar("T")

LEASE_SECONDS = 1.0  # Short, since what runs while it lasts is only looking for something to do.
RENEWALS_A_LEASE = 4  # A timer that is set for longer than a renewal is somebody's wish, not a look.
QUIET_SECONDS = 5.0  # After so long nothing but looks is left, and time may jump.
HOME = "home"


class Died(Exception):
    """The node died before it could answer."""


class SimulatedNode:
    """A node in a process of its own, which can be paused and killed."""

    def __init__(self, process: Process, environment: SimulatedEnvironment, node: AsyncNode) -> None:
        self.process = process
        self.environment = environment
        self.node = node

    @property
    def name(self) -> str:
        """Return the process's name."""
        return self.process.name

    @property
    def is_alive(self) -> bool:
        """Say whether it was not killed yet."""
        return not self.process.is_dead

    async def ask(self, work: Callable[[AsyncNode], Coroutine[Any, Any, T]]) -> T:
        """Run *work* in the node's process and return its answer.

        Raises:
            Died: The node died first, so nobody knows what came of it.
        """
        if self.process.is_dead:
            raise Died(f"{self.name} is dead")
        reply: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        task = self.process.spawn(work(self.node))

        def answer(done: asyncio.Task[T]) -> None:
            if reply.done() or done.cancelled():
                return
            error = done.exception()
            if error is None:
                reply.set_result(done.result())
            elif isinstance(error, Exception):
                reply.set_exception(error)

        def died(_: object) -> None:
            if not reply.done():
                reply.set_exception(Died(f"{self.name} died before it could answer"))

        task.add_done_callback(answer)
        self.process.death.add_done_callback(died)
        try:
            return await reply
        finally:
            self.process.death.remove_done_callback(died)

    async def close(self) -> None:
        """Close it as an orderly stop does."""
        await self.ask(lambda node: node.close())
        self.process.kill()

    def kill(self) -> None:
        """Kill it, as SIGKILL does."""
        self.process.kill()

    def pause(self, seconds: float) -> None:
        """Stop it, as SIGSTOP does, and let it wake up later."""
        self.process.pause(seconds)


class World:
    """What a simulation runs in.

    Args:
        sagas: What every node can drive.
        stores: The names of the stores beside the home.
        seed: Decides whatever is left to chance.
        lease: The lease of every node.
        hesitation: How likely a node waits for what it reads in its home, as over a network.
        broker: Makes each node's connection to the broker that it relays to.
        reactions: What every node does about the events of that broker.
        directory: Where the databases are SQLite files, as in production; by default they are in
            memory, which is quicker.

    Attributes:
        nodes: Every node that was ever opened.
    """

    def __init__(
        self,
        sagas: Iterable[type[Saga]] = (),
        *,
        stores: Iterable[str] = (),
        seed: int = 0,
        lease: timedelta = timedelta(seconds=LEASE_SECONDS),
        secret_key: str | None = None,
        directory: Path | None = None,
        hesitation: float = 0.0,
        broker: Callable[[], Broker] | None = None,
        reactions: Iterable[Reaction[..., Any]] = (),
    ) -> None:
        self.seed = seed
        self.sagas = tuple(sagas)
        self.loop = new_loop(seed)
        self.nodes: list[SimulatedNode] = []
        self.codec = JsonCodec(secret_keys_of(secret_key or os.environ.get(SECRET_KEY_VARIABLE, "")))
        self.places: dict[str, Place] = {name: _place(name, directory) for name in (HOME, *stores)}
        self._lease = lease
        self._hesitation = hesitation
        self._broker = broker
        self._reactions = tuple(reactions)
        self._environment = SimulatedEnvironment(self.loop, self.loop.world, f"{seed} world")
        self._home: MortalHome | None = None
        self._stores: dict[str, MortalStore] = {}

    # ── Nodes ───────────────────────────────────────────────────────────────────────────────

    def open(
        self,
        name: str | None = None,
        *,
        skew: float = 0.0,
        dies_at: Reached | None = None,
        in_flight_max: int = 1_000,
    ) -> SimulatedNode:
        """Return a new node in a process of its own; it opens when it is first asked something.

        Args:
            skew: How many seconds its clock is ahead.
            dies_at: Asked at each crash point whether it dies there.
        """
        number = len(self.nodes) + 1
        process = self.loop.process(name or f"node-{number}")
        environment = SimulatedEnvironment(
            self.loop, process, f"{self.seed} node {number}", skew=skew, dies_at=dies_at
        )

        async def open_home(url: str, environment: Environment, codec: Codec) -> MortalHome:
            home = self.places[HOME].open_home(environment, codec, HOME)
            process.last_will.append(home.abandon)
            return hesitant(home, environment, self._hesitation)

        async def open_store(url: str, environment: Environment, name: str) -> MortalStore:
            store = self.places[name].open_store(environment, name)
            process.last_will.append(store.abandon)
            return store

        settings = Settings(
            url="memory://home",
            stores={name: f"memory://{name}" for name in self.places if name != HOME},
            sagas=self.sagas,
            reservations=(),
            participants=(),
            broker=None if self._broker is None else self._broker(),
            has_broker=self._broker is not None,
            reactions=self._reactions,
            choreographies=(),
            projections=(),
            outbox_kept_seconds=OUTBOX_KEPT_SECONDS,
            inbox_kept_seconds=INBOX_KEPT_SECONDS,
            in_flight_max=in_flight_max,
            lease_seconds=self._lease.total_seconds(),
            is_observer=False,
            tracing=NO_TRACING,
            open_home=open_home,
            open_store=open_store,
        )
        simulated = SimulatedNode(process, environment, AsyncNode(settings, self.codec, environment))
        self.nodes.append(simulated)
        return simulated

    # ── What is durable ─────────────────────────────────────────────────────────────────────

    def execute(self, sql: str, *parameters: Any, at: str | None = None) -> Rows:
        """Run one statement in a transaction of its own, in the home store or *at* another."""
        rows: Rows = self.run(self.executed(sql, *parameters, at=at))
        return rows

    async def executed(self, sql: str, *parameters: Any, at: str | None = None) -> Rows:
        """Run one statement, for code that runs in the world's loop already."""
        turn = FunctionTurn(lambda tx: tx.execute(sql, *parameters), self.codec)
        self._store(at or HOME).submit(turn)
        rows: Rows = await turn.done
        return rows

    def query(self, sql: str, *parameters: Any, at: str | None = None) -> Rows:
        """Read what is committed in the home store or *at* another."""
        return at_once(self._store(at or HOME).query(sql, parameters))

    @property
    def home(self) -> MortalHome:
        """Return the home store, as an observer who never dies sees it."""
        if self._home is None:
            self._home = self._within(
                lambda: self.places[HOME].open_home(self._environment, self.codec, HOME)
            )
        return self._home

    def _store(self, name: str) -> MortalStore:
        if name == HOME:
            return self.home
        if name not in self.places:
            known = ", ".join(self.places)
            raise LookupError(f"this world has no store {name!r}: it has {known}; name it with stores=[…]")
        if name not in self._stores:
            place = self.places[name]
            self._stores[name] = self._within(lambda: place.open_store(self._environment, name))
        return self._stores[name]

    def let_go(self) -> None:
        """Close what the world itself has open, as everybody must when the power fails."""
        for store in (*self._stores.values(), *([self._home] if self._home is not None else [])):
            store.abandon()
        self._stores.clear()
        self._home = None

    def _within(self, work: Callable[[], T]) -> T:
        """Do something that needs a running loop, whether it runs already or not."""
        if self.loop.is_running():
            return work()

        async def run() -> T:
            return work()

        answer: T = self.loop.run_until_complete(run())
        return answer

    # ── Time ────────────────────────────────────────────────────────────────────────────────

    def now(self) -> float:
        """Return the time by a clock that is right, in seconds since the Unix epoch."""
        return self._environment.now()

    def run(self, work: Awaitable[T], *, within: timedelta = timedelta(days=3650)) -> T:
        """Run the world until *work* is done. Time in which nodes only look around is jumped over.

        Raises:
            TimeoutError: It was not done *within* that much simulated time.
            Idle: It waits for something that can never come.
        """
        task = asyncio.ensure_future(work, loop=self.loop)
        give_up = self.loop.time() + within.total_seconds()
        seen: Cursor | None = None
        while not task.done():
            self._run_for(task, QUIET_SECONDS)
            if task.done():
                break
            if self.loop.time() >= give_up:
                raise TimeoutError(f"not done within {within} of simulated time")
            due = self._next_event()
            before, seen = seen, at_once(self.home.newest(limit=1)).cursor
            if due is None and before == seen:
                raise Idle("nothing is due any more, and still it is not done")
            if due is not None:
                self.loop.jump(min(due, give_up))
        return task.result()

    def _run_for(self, task: asyncio.Future[Any], seconds: float) -> None:
        def stop(_: object = None) -> None:
            self.loop.stop()

        timer = self.loop.call_later(seconds, stop)
        task.add_done_callback(stop)
        self.loop.run_forever()
        task.remove_done_callback(stop)
        timer.cancel()

    def _next_event(self) -> float | None:
        """Return when something is due that is more than a look around; None if nothing is."""
        renewal = self._lease.total_seconds() / RENEWALS_A_LEASE
        timer = self.loop.next_timer(delay_min=renewal + 0.001)
        wakes = [head.wake_at for head in at_once(self.home.heads(is_open=True))]
        now = self._environment.now()
        due = [wake - now + self.loop.time() for wake in wakes if wake is not None and now < wake < NEVER]
        if timer is not None:
            due.append(timer)
        return min(due, default=None)

    def close(self) -> None:
        """End the world: kill what still runs."""
        for node in self.nodes:
            node.kill()
        self.let_go()
        self.loop.close()

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def at_once(reading: Coroutine[Any, Any, T]) -> T:
    """Return what a store answers at once, as one does that is in memory or a file."""
    try:
        reading.send(None)
    except StopIteration as answered:
        return cast(T, answered.value)
    raise AssertionError(f"{reading} has to wait")


def _place(name: str, directory: Path | None) -> Place:
    return MemoryPlace() if directory is None else SqlitePlace(directory / f"{name}.db")
