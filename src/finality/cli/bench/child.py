"""A process that measures for us: it runs a module of ours, and we say and hear an object a line."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import finality

LINE_BYTES_MAX = 1 << 26  # A figure comes with each of its latencies.


class Child:
    """What is said to it and heard from it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def tell(self, item: Any) -> None:
        """Say something to it."""
        assert self._process.stdin is not None, "its input is a pipe"
        self._process.stdin.write(json.dumps(item).encode() + b"\n")

    async def said(self) -> Any:
        """Return what it says next.

        Raises:
            Unavailable: It has ended.
        """
        assert self._process.stdout is not None, "its output is a pipe"
        line = await self._process.stdout.readline()
        if not line:
            raise finality.Unavailable("a process of the bench has ended too soon: what it said stands above")
        return json.loads(line)


@asynccontextmanager
async def child(module: str, *arguments: object) -> AsyncIterator[Child]:
    """Run *module* as a process of its own, and kill it at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *map(str, arguments),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LINE_BYTES_MAX,
        start_new_session=True,  # Ctrl-C is for us alone: we kill it then.
    )  # fmt: skip
    try:
        yield Child(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
