"""One simulation: nodes, clients and faults from a seed, then heal, drain and check everything.

```
    PYTHONPATH=. python -m tests.sim.simulation 42      runs seed 42 and prints what happened
```
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import finality
from finality.core.errors import FinalityError
from finality.node.async_node import AsyncNode
from finality.testing import Chaos, Died, Rates, World
from finality.testing.checks import Streams, effect_problems, leases_left, problems_of, residue_of
from finality.testing.disk import SimulatedDisk
from finality.testing.effects import Watch, prepare, watched
from finality.testing.world import at_once
from tests.sim.bank import ACCOUNTS, OPENING, SAGAS, Approved, Here, any_saga

FAULT_SECONDS = 6.0
DRAIN_SECONDS_MAX = 120.0
BEAT_SECONDS = 0.1
RETRIES_MAX = 10  # A person helps a stuck saga this often; faults are over by then.
TRANSACTIONS = 100


class Broken(AssertionError):
    """A simulation broke a promise."""


@dataclass
class Result:
    """What a simulation saw."""

    seed: int
    trace: str = ""
    transactions: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


class Clients:
    """Those who start transactions, wait for them, cancel them and help them when they are stuck."""

    def __init__(self, world: World, chaos: Chaos, transactions: int) -> None:
        self.world = world
        self.chaos = chaos
        self.acknowledged: list[str] = []
        self.tokens: Counter[str] = Counter()
        self.heard: dict[str, str] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._transactions = transactions

    async def run(self) -> None:
        """Begin everything, spread over the fault phase; end when all that was begun is acknowledged."""
        for number in range(self._transactions):
            at = self.chaos.chance() * FAULT_SECONDS
            self._tasks.append(self.world.loop.world.spawn(self._client(f"tx-{number:03}", at)))
        await asyncio.sleep(FAULT_SECONDS)

    async def wait(self) -> None:
        """Wait for the clients, which go on asking until they are answered."""
        for task in self._tasks:
            await task

    async def _client(self, id: str, at: float) -> None:
        await asyncio.sleep(at)
        saga = any_saga(self.chaos)
        await self._insist(lambda node: node.start(saga, id=id))
        self.acknowledged.append(id)
        if isinstance(saga, Approved) and self.chaos.chance() < 0.6:
            verdict = self.chaos.chance() < 0.8
            await self._insist(lambda node: node.signal(id, "approval", verdict))
        if self.chaos.chance() < self.chaos.rates.cancel:
            self.chaos.counts["cancel"] += 1
            await self._insist(lambda node: node.cancel(id, because="a client changed its mind"))
        if self.chaos.chance() < 0.1:
            await self._insist(lambda node: self._keep_token(node, id))
            self.tokens[id] += 1
        if self.chaos.chance() < 0.3:
            await self._hear(id)

    async def _hear(self, id: str) -> None:
        """Ask one node for the outcome; what it says must be so."""
        node = self.chaos.any_node()
        if node is None:
            return
        try:
            outcome = await node.ask(lambda node: node.outcome(id))
        except (Died, FinalityError):
            return  # It is somebody else's to say.
        self.heard[id] = outcome.status.value

    @staticmethod
    async def _keep_token(node: AsyncNode, id: str) -> None:
        def once(tx: finality.SyncTx) -> None:
            if not tx.execute("SELECT 1 FROM token WHERE id = ?", id):
                tx.execute("INSERT INTO token VALUES (?)", id)

        await node.run(once)

    async def _insist(self, ask: Callable[[AsyncNode], Coroutine[Any, Any, Any]]) -> Any:
        """Ask any node until one answers: the asker never knows whether the last one did it."""
        while True:
            node = self.chaos.any_node()
            if node is None:
                await asyncio.sleep(BEAT_SECONDS)
                continue
            try:
                return await node.ask(ask)
            except (Died, finality.Unavailable, finality.OutcomeUnknown, finality.TransactionAborted):
                await asyncio.sleep(BEAT_SECONDS)

    async def help(self) -> None:
        """Help what is stuck, as a person does who has made sure that all is well again."""
        for head in at_once(self.world.home.heads(status="stuck")):
            await self._retry(head.id)

    async def _retry(self, id: str) -> None:
        await self._insist(lambda node: node.retry(id, because="the faults are over"))


def simulate(seed: int, *, transactions: int = TRANSACTIONS, directory: Path | None = None) -> Result:
    """Run one simulation.

    Args:
        directory: Where the stores are SQLite files, on a disk that fails; by default in memory.

    Raises:
        Broken: A promise was broken.
    """
    rates = Rates.drawn(seed)
    with contextlib.ExitStack() as around:
        around.enter_context(watched(SAGAS, Watch()))
        disk = around.enter_context(SimulatedDisk(seed)) if directory is not None else None
        world = around.enter_context(
            World(SAGAS, stores=["bank"], seed=seed, directory=directory, hesitation=rates.hesitation)
        )
        prepare(world)
        chaos = Chaos(world, rates, disk)
        Here.begin(world, chaos)
        clients = Clients(world, chaos, transactions)
        try:
            world.loop.run_until_complete(_live(world, chaos, clients))
            problems = _problems(world, clients)
        except Exception as error:
            raise Broken(f"seed {seed} ({rates}) failed: {error!r}") from error
        if problems:
            raise Broken(_report(seed, rates, world, problems))
        return _result(seed, world, chaos)


async def _live(world: World, chaos: Chaos, clients: Clients) -> None:
    """The fault phase, then heal and drain."""
    await chaos.open()
    troubles = world.loop.world.spawn(chaos.run())
    await clients.run()
    chaos.heal()
    Here.wallet.faults = type(Here.wallet.faults)()
    await troubles
    await chaos.open()  # So that there is one which has seen no fault.
    with contextlib.suppress(TimeoutError):  # The checks say what has not ended.
        async with asyncio.timeout(DRAIN_SECONDS_MAX):
            await clients.wait()
    await _drain(world, chaos, clients)
    for node in chaos.alive:
        await node.close()


async def _drain(world: World, chaos: Chaos, clients: Clients) -> None:
    give_up = world.loop.time() + DRAIN_SECONDS_MAX
    helped = 0
    await asyncio.sleep(Here.wallet.faults.late_seconds_max)
    while at_once(world.home.heads(is_open=True, limit=1)):
        if world.loop.time() > give_up:
            return  # The checks say what is still open.
        await asyncio.sleep(1.0)
        if helped < RETRIES_MAX:
            helped += 1
            await clients.help()


def _problems(world: World, clients: Clients) -> list[tuple[str, str]]:
    streams = Streams(world)
    problems = [*problems_of(streams), *effect_problems(streams)]
    problems += [("", left) for left in (*residue_of(world), *leases_left(world))]
    problems += [("", f"something failed unheard: {error}") for error in world.loop.errors]
    total = Here.total(world)
    if total != 2 * ACCOUNTS * OPENING:
        problems.append(("", f"the money is {total} and was {2 * ACCOUNTS * OPENING}"))
    statuses: dict[str, str] = {head.id: head.status for head in streams.heads}
    problems += [
        (id, "it was acknowledged and never began") for id in clients.acknowledged if id not in statuses
    ]
    for id, heard in clients.heard.items():
        if statuses.get(id) != heard:
            problems.append((id, f"a client heard that it {heard} and it is {statuses.get(id)}"))
    kept = Counter(row[0] for row in world.query("SELECT id FROM token"))
    problems += [(id, f"its token is there {kept[id]} times") for id in clients.tokens if kept[id] != 1]
    problems += _wallet_problems(streams)
    return problems


def _wallet_problems(streams: Streams) -> list[tuple[str, str]]:
    """A payment stands exactly where its saga completed."""
    expected = {
        f"{head.id}/paid"
        for head in streams.heads
        if head.kind == "AcrossStores" and head.status == "completed"
    }
    standing = set(Here.wallet.effects)
    wrong = sorted(expected ^ standing)
    return [(key.partition("/")[0], f"payment {key} stands: {key in standing}") for key in wrong]


def _report(seed: int, rates: Rates, world: World, problems: list[tuple[str, str]]) -> str:
    streams = Streams(world)
    lines = [
        f"seed {seed} broke {len(problems)} promises; run it again: pytest tests/sim --finality-seed {seed}"
    ]
    lines.append(f"  rates: {rates}")
    lines += [f"  {id or 'world'}: {problem}" for id, problem in problems[:20]]
    for id in list(dict.fromkeys(id for id, _ in problems if id))[:2]:
        lines += [f"── {id}", streams.story_of(id)]
    return "\n".join(lines)


def _result(seed: int, world: World, chaos: Chaos) -> Result:
    result = Result(seed, faults=chaos.counts + Here.wallet.counts)
    for head in at_once(world.home.heads(limit=1_000_000)):
        result.transactions += 1
        result.ends[head.status] += 1
        for recorded in at_once(world.home.load(head.key)):
            world.loop.note(head.id, recorded.version, type(recorded.event).__name__, recorded.at)
    result.trace = world.loop.trace
    result.seconds = world.loop.time()
    return result


def main() -> None:
    """Run the seeds of the command line, such as 7 or 0-99."""
    failed: list[str] = []
    totals: Counter[str] = Counter()
    for argument in sys.argv[1:]:
        first, _, last = argument.partition("-")
        for seed in range(int(first), int(last or first) + 1):
            try:
                result = simulate(seed)
            except Broken as broken:
                failed.append(str(broken))
            else:
                totals["transactions"] += result.transactions
                totals["faults"] += sum(result.faults.values())
    print(*failed[:3], f"{len(failed)} failed", [text[:120] for text in failed], totals, sep="\n\n")


if __name__ == "__main__":
    main()
