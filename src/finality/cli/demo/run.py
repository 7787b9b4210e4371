"""One run of the demo: found a bank, keep it busy, kill its nodes, let it finish, audit its books.

```
   first node ready ──── kill ──── kill ──── kill ──┬── drain ──┬── close ── audit, read-only
          └────────── orders, audits ───────────────┘  no new   └─ nothing open, or no progress
```
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from finality.cli.demo import bank
from finality.cli.demo.cluster import Cluster
from finality.cli.demo.invariants import Audit, Auditor
from finality.cli.demo.node import LEASE
from finality.cli.demo.orders import accounts_for, orders
from finality.cli.demo.processes import Child
from finality.cli.demo.view import Moment, View

KILL_SECONDS = 3.0  # Between two kills, so that one can watch the others take over.
KILL_SECONDS_MIN = 1.2
READY_SECONDS_MAX = 60.0  # For the first node to take orders, on a machine that is busy elsewhere.
STALL_SECONDS_MAX = 30.0  # Without a single saga that ends, the drain gives up.
DRAIN_SECONDS_MAX = 300.0
AUDIT_SHARE = 0.25  # Of the time may go into audits while the bank works; they grow with its history.
LOOK_SECONDS = 0.05
EXPLAINED_MAX = 3  # Of what is left open.
SOCKET_LENGTH_MAX = 100  # Of a Unix socket's path: the system's bound is 104 or 108.


class NotReady(Exception):
    """A process of the demo did not begin."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is asked to do."""

    directory: Path
    seconds: float
    nodes: int
    seed: int


@dataclass(slots=True)
class Report:
    """How a run ended.

    Attributes:
        left: Explanations of sagas that had not ended when the drain gave up.
        crashed: Nodes that ended although nobody killed them.
    """

    moment: Moment
    left: list[str] = field(default_factory=list)
    crashed: list[str] = field(default_factory=list)


class Run:
    """A run under way; ``stop`` ends it early."""

    def __init__(self, plan: Plan, view: View) -> None:
        self._plan = plan
        self._view = view
        self._stopped = asyncio.Event()
        self._begun = 0.0
        self._next_audit = 0.0
        self._phase = "working"
        self._cluster: Cluster
        self._auditor: Auditor

    def stop(self) -> None:
        """Start nothing new and let everything finish."""
        self._stopped.set()

    async def run(self) -> Report:
        """Run it."""
        plan = self._plan
        dice = Random(plan.seed)  # noqa: S311  # Repeatable dice, not secret ones.
        accounts = accounts_for(plan.seconds, dice)
        async with bank.open_bank(plan.directory, lease=LEASE) as node:
            await bank.found_bank(node, accounts)
        with tempfile.TemporaryDirectory(prefix="finality-") as short:
            socket = plan.directory / "provider.sock"
            if len(str(socket)) > SOCKET_LENGTH_MAX:
                socket = Path(short) / "provider.sock"
            provider = await Child.spawn(
                "finality.cli.demo.provider", "provider", plan.directory, socket, plan.seed
            )
            if await provider.line() != b"ready\n":
                raise NotReady(f"the payment provider did not begin: see {plan.directory / 'provider.log'}")
            self._auditor = Auditor(plan.directory)
            self._cluster = Cluster(plan.directory, socket, orders(accounts, dice), nodes=plan.nodes)
            try:
                with self._view.shown():
                    return await self._work()
            finally:
                self._cluster.abandon()
                self._auditor.close()
                await provider.close()

    async def _work(self) -> Report:
        cluster = self._cluster
        await cluster.fill()
        await self._until_ready()
        self._begun = time.monotonic()
        kill_seconds = min(KILL_SECONDS, max(KILL_SECONDS_MIN, self._plan.seconds / 3))
        next_kill = kill_seconds
        while self._elapsed() < self._plan.seconds and not self._stopped.is_set():
            if self._elapsed() >= next_kill and self._kill():
                next_kill = self._elapsed() + kill_seconds
            await self._look()
            await self._pause()
        # The last kill comes with the end, so that even the shortest run shows a recovery.
        give_up = time.monotonic() + STALL_SECONDS_MAX
        while not self._kill() and time.monotonic() < give_up:
            await self._pause()
        cluster.is_feeding = False
        await self._drain()
        left = await self._explained() if self._auditor.open() else []
        self._auditor.close()
        await cluster.close()
        # Nothing runs any more: whoever audits now sees closed files, and nothing but files.
        self._auditor = Auditor(self._plan.directory)
        self._auditor.note(started=cluster.confirmed, killed=cluster.killed)
        self._phase = "finished"
        report = Report(self._moment(self._auditor.audit(is_final=True)), left, cluster.crashed)
        self._view.show(report.moment)
        return report

    def _elapsed(self) -> float:
        return time.monotonic() - self._begun

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._stopped.wait()
            await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            pass  # Nobody wants us to stop: the usual case.

    async def _until_ready(self) -> None:
        give_up = time.monotonic() + READY_SECONDS_MAX
        while not self._cluster.alive:
            if time.monotonic() > give_up or len(self._cluster.crashed) > self._plan.nodes:
                raise NotReady(f"no node began: see {self._plan.directory}/node-*.log")
            await self._pause()

    def _kill(self) -> bool:
        """Kill a node that drives open sagas, as the journal has it; say whether there was one."""
        victim = self._cluster.victim()
        if victim is None:
            return False
        # It stands still now, so that what is open is open when it dies.
        open = self._auditor.open_of(victim.child.pid)
        if not open:
            self._cluster.spare(victim)
            return False
        self._cluster.kill(victim)
        self._view.say(
            f"{self._elapsed():5.1f} s  kill -9 {victim.child.name}, which had {open} sagas in hand"
        )
        return True

    # ── Looking ─────────────────────────────────────────────────────────────────────────────

    async def _look(self) -> None:
        """Audit and show the books once a second, or less often once that takes long."""
        now = time.monotonic()
        if now < self._next_audit:
            return
        self._view.show(self._moment(await self._audit()))
        took = time.monotonic() - now
        self._next_audit = now + max(1.0, took / AUDIT_SHARE)

    async def _audit(self) -> Audit:
        self._auditor.note(started=self._cluster.confirmed, killed=self._cluster.killed)
        # In a thread, so that the nodes get their orders meanwhile.
        return await asyncio.to_thread(self._auditor.audit)

    def _moment(self, audit: Audit) -> Moment:
        cluster = self._cluster
        return Moment(self._elapsed(), self._phase, len(cluster.alive), len(cluster.killed), audit)

    # ── The end ─────────────────────────────────────────────────────────────────────────────

    async def _drain(self) -> None:
        self._phase = "draining"
        began = progress = time.monotonic()
        before = None
        while (left := (self._auditor.open(), self._cluster.unconfirmed)) != (0, 0):
            now = time.monotonic()
            if left != before:
                before, progress = left, now
            if now - progress > STALL_SECONDS_MAX or now - began > DRAIN_SECONDS_MAX:
                return
            await self._look()
            await self._pause()

    async def _explained(self) -> list[str]:
        async with bank.open_bank(self._plan.directory, lease=LEASE, is_observer=True) as node:
            heads = await node.transactions(is_open=True, limit=EXPLAINED_MAX)
            return [str(await node.explain(head.id)) for head in heads]
