"""The demo's processes: the provider and the nodes, and what each is known to have in hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finality.cli.demo.orders import Order

CLOSE_SECONDS = 15.0  # A node drains for up to 10 seconds.


@dataclass(slots=True)
class Child:
    """A process that reads from us and writes to us."""

    name: str
    process: asyncio.subprocess.Process

    @classmethod
    async def spawn(cls, module: str, name: str, directory: Path, *arguments: object) -> Child:
        """Run *module* as a process of its own; what it logs goes into a file of *directory*."""
        with (directory / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", module, *map(str, (directory, *arguments)),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
                start_new_session=True,  # Ctrl-C is for us alone: we let the nodes finish.
            )  # fmt: skip
        return cls(name, process)

    @property
    def pid(self) -> int:
        """Return its process id."""
        return self.process.pid

    @property
    def is_running(self) -> bool:
        """Say whether it has not ended yet."""
        return self.process.returncode is None

    async def line(self) -> bytes:
        """Return the next line that it writes; empty when it has ended."""
        assert self.process.stdout is not None, "it was spawned with a pipe"
        return await self.process.stdout.readline()

    def write(self, text: str) -> None:
        """Send it a line; one that has died meanwhile does not hear it."""
        assert self.process.stdin is not None, "it was spawned with a pipe"
        self.process.stdin.write(text.encode() + b"\n")

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def close(self) -> None:
        """End its input and wait; one that does not end in time is killed."""
        assert self.process.stdin is not None, "it was spawned with a pipe"
        self.process.stdin.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.process.wait()
        except TimeoutError:
            self.send_signal(signal.SIGKILL)
            await self.process.wait()


class NodeProcess:
    """A node as its client sees it.

    Attributes:
        unconfirmed: Sent, and not known to be durable: to be sent again if the node dies.
        running: Durable, and not known to have ended.
        is_ready: It takes orders.
        is_killed: We have killed it.
    """

    def __init__(self, child: Child, said: Callable[[NodeProcess, dict[str, Any]], None]) -> None:
        self.child = child
        self.unconfirmed: dict[str, Order] = {}
        self.running: set[str] = set()
        self.is_ready = False
        self.is_killed = False
        self._said = said

    @property
    def in_hand(self) -> int:
        """Return how many orders it has not finished."""
        return len(self.unconfirmed) + len(self.running)

    def send(self, order: Order) -> None:
        """Have it start a saga."""
        self.unconfirmed[order.id] = order
        self.child.write(json.dumps(asdict(order)))

    async def listen(self) -> None:
        """Hear what it says until it ends."""
        async for line in self._lines():
            self._said(self, json.loads(line))
        await self.child.process.wait()

    async def _lines(self) -> AsyncIterator[bytes]:
        # A killed node may leave half a line behind.
        while (line := await self.child.line()).endswith(b"\n"):
            yield line

    def kill(self) -> None:
        """Kill it as a power cut does: nothing in it gets to run again."""
        self.is_killed = True
        self.child.send_signal(signal.SIGKILL)
