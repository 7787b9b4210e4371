"""The bank's nodes and their client: feeds them orders, kills them, and knows what was promised."""

from __future__ import annotations

import asyncio
import signal
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finality.cli.demo.orders import Order
from finality.cli.demo.processes import Child, NodeProcess

IN_HAND_MAX = 32  # Orders that a node may have in hand: enough that each kill hits something.


class Cluster:
    """Some nodes on the same files.

    Attributes:
        confirmed: Sagas of which a node said that they are durable; what is lost is measured by these.
        killed: The process ids of the nodes that were killed.
        crashed: Nodes that ended although nobody killed them.
    """

    def __init__(self, directory: Path, socket: Path, orders: Iterator[Order], *, nodes: int) -> None:
        self.confirmed: set[str] = set()
        self.killed: list[int] = []
        self.crashed: list[str] = []
        self.stuck: dict[str, str] = {}
        self.is_feeding = True
        self._directory = directory
        self._socket = socket
        self._orders = orders
        self._size = nodes
        self._again: deque[Order] = deque()
        self._nodes: list[NodeProcess] = []
        self._listening: set[asyncio.Task[None]] = set()
        self._spawned = 0
        self._is_closing = False
        self.changed = asyncio.Event()
        """Set whenever a node has said something."""

    @property
    def alive(self) -> list[NodeProcess]:
        """Return the nodes that take orders."""
        return [node for node in self._nodes if node.is_ready and not node.is_killed]

    @property
    def unconfirmed(self) -> int:
        """Return how many orders nobody has confirmed yet."""
        return len(self._again) + sum(len(node.unconfirmed) for node in self._nodes)

    async def fill(self) -> None:
        """Spawn nodes until there are as many as there should be."""
        while len(self._nodes) < self._size and not self._is_closing:
            self._spawned += 1
            name = f"node-{self._spawned}"
            child = await Child.spawn("finality.cli.demo.node", name, self._directory, self._socket)
            node = NodeProcess(child, self._said)
            self._nodes.append(node)
            task = asyncio.ensure_future(self._listen(node))
            self._listening.add(task)
            task.add_done_callback(self._listening.discard)

    async def _listen(self, node: NodeProcess) -> None:
        await node.listen()
        self._nodes.remove(node)
        # The node may have made them durable before it died: the same id starts the same saga.
        self._again.extend(node.unconfirmed.values())
        if not node.is_killed and not self._is_closing:
            self.crashed.append(node.child.name)
        self.changed.set()
        await self.fill()
        self._feed()

    def _said(self, node: NodeProcess, line: dict[str, Any]) -> None:
        match line:
            case {"ready": True}:
                node.is_ready = True
            case {"started": id}:
                node.running.add(node.unconfirmed.pop(id).id)
                self.confirmed.add(id)
            case {"failed": id}:
                self._again.append(node.unconfirmed.pop(id))
            case {"ended": id}:
                node.running.discard(id)
            case {"stuck": id, "because": because}:
                node.running.discard(id)
                self.stuck[id] = because
        self.changed.set()
        self._feed()

    def _feed(self) -> None:
        for node in self.alive:
            while node.in_hand < IN_HAND_MAX and (order := self._next()) is not None:
                node.send(order)

    def _next(self) -> Order | None:
        if self._again:
            return self._again.popleft()
        return next(self._orders) if self.is_feeding else None

    def victim(self) -> NodeProcess | None:
        """Return the node with the most sagas in hand, stopped in its tracks, if there is one."""
        busy = [node for node in self.alive if node.running]
        if not busy or len(self.alive) < min(2, self._size):
            return None
        node = max(busy, key=lambda node: len(node.running))
        node.child.send_signal(signal.SIGSTOP)
        return node

    def kill(self, node: NodeProcess) -> None:
        """Kill a node; another process takes its place."""
        self.killed.append(node.child.pid)
        node.kill()

    def spare(self, node: NodeProcess) -> None:
        """Let a stopped node go on."""
        node.child.send_signal(signal.SIGCONT)

    async def close(self) -> None:
        """Have every node finish what it is doing and leave."""
        self._is_closing = True
        self.is_feeding = False
        await asyncio.gather(*(node.child.close() for node in list(self._nodes)))
        await asyncio.gather(*self._listening)

    def abandon(self) -> None:
        """Kill every node at once."""
        self._is_closing = True
        for node in self._nodes:
            node.kill()
